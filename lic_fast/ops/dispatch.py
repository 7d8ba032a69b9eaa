"""Whether an operator may take its fast path on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lic_fast.ops import onednn
from lic_fast.ops.backend import current_backend

__all__ = ["fast_on_cpu"]


def fast_on_cpu(x: Tensor, *others: Tensor | None) -> bool:
    """Whether oneDNN is to be called directly: no gradient follows and nobody is tracing.

    torch.compile sees the plain definition, which it fuses in its own way.
    """
    return (
        current_backend() == "auto"
        and type(x) in (Tensor, nn.Parameter)  # subclasses, as of fake tensors, have no memory
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not (torch.is_grad_enabled() and any(_requires_grad(t) for t in (x, *others)))
        and onednn.usable(x)
    )


def _requires_grad(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad
