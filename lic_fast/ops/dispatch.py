"""Which path an operator may take."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from lic_fast import _C
from lic_fast.ops import onednn
from lic_fast.ops.backend import current_backend
from lic_fast.ops.stamp import ORDINARY

__all__ = [
    "exact_on_cpu",
    "fast_bfloat16",
    "fast_on_cpu",
    "inference",
    "multiplies_bfloat16",
    "untraced",
    "untrained",
]


def exact_on_cpu(x: Tensor) -> bool:
    """Whether the CPU's code for integer networks may run: on real memory, outside tracing."""
    return (
        type(x) in ORDINARY  # subclasses, as of fake tensors, have no memory
        and x.device.type == "cpu"
        and current_backend() == "auto"
        and not torch.compiler.is_compiling()
    )


def fast_on_cpu(x: Tensor, *others: Tensor | None) -> bool:
    """Whether the CPU's fast paths may run, those of oneDNN and of csrc.

    torch.compile sees the plain definition, which it fuses in its own way.
    """
    return inference(x, *others) and onednn.usable(x)


def inference(x: Tensor, *others: Tensor | None) -> bool:
    """Whether the backend is the fast one, no gradient follows and nobody is tracing."""
    return (
        current_backend() == "auto"
        # Subclasses, as of fake tensors, have no memory.
        and type(x) in ORDINARY
        and all(other is None or type(other) in ORDINARY for other in others)
        and untraced(x, *others)
    )


def untraced(x: Tensor, *others: Tensor | None) -> bool:
    """Whether no gradient follows and nobody is tracing."""
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not (torch.is_grad_enabled() and any(_requires_grad(t) for t in (x, *others)))
    )


def untrained(*modules: nn.Module) -> bool:
    """Whether no gradient of the modules' parameters is asked for."""
    # Where there are none at all, there is nothing to look for in hundreds of modules.
    return not torch.is_grad_enabled() or not any(
        parameter.requires_grad for module in modules for parameter in module.parameters()
    )


def _requires_grad(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad


@lru_cache
def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device computes faster in bfloat16 than in float32.

    A CPU does where it multiplies bfloat16, and where maps of it are multiplied as words of 16
    bits, see :mod:`lic_fast.ops.winograd`.
    """
    if multiplies_bfloat16(device):
        return True
    on_cpu = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return on_cpu and _C.multiplies_words()


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has products of bfloat16, which PyTorch's operators run on."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    # Private, but there is no other way to ask; where they are missing, float32 is never wrong.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)
