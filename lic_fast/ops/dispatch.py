"""Which path an operator may take."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lic_fast.ops.backend import current_backend
from lic_fast.ops.stamp import ORDINARY
from lic_fast.runtime import program

__all__ = [
    "exact_on_cpu",
    "fast_bfloat16",
    "multiplies_bfloat16",
    "untraced",
]


def exact_on_cpu(x: Tensor) -> bool:
    """Whether the CPU's code for integer networks may run: on real memory, outside tracing."""
    return (
        type(x) in ORDINARY  # subclasses, as of fake tensors, have no memory
        and x.device.type == "cpu"
        and current_backend() == "auto"
        and not torch.compiler.is_compiling()
    )


def untraced(x: Tensor, *others: Tensor | None) -> bool:
    """Whether no gradient follows and PyTorch is not tracing."""
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not (torch.is_grad_enabled() and any(_requires_grad(t) for t in (x, *others)))
    )


def _requires_grad(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad


@lru_cache
def fast_bfloat16(device: torch.device) -> bool:
    """Whether programs compute faster in bfloat16 than in float32 on the device."""
    return program.fast_bfloat16() if device.type == "cpu" else multiplies_bfloat16(device)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has products of bfloat16, which PyTorch's operators run on."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    # Private, but there is no other way to ask; where they are missing, float32 is never wrong.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)
