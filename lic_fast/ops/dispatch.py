"""Whether an operator may take its fast path on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lic_fast.ops import onednn
from lic_fast.ops.backend import current_backend

__all__ = ["fast_on_cpu", "needs_gradient"]


def fast_on_cpu(x: Tensor, *others: Tensor | None) -> bool:
    """Whether oneDNN is to be called directly: no gradient follows and nobody is tracing.

    torch.compile sees the plain definition, which it fuses in its own way.
    """
    return (
        current_backend() == "auto"
        and type(x) in (Tensor, nn.Parameter)  # subclasses, as of fake tensors, have no memory
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not needs_gradient(x, *others)
        and onednn.usable(x)
    )


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Whether a gradient may be asked of what is computed from these."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
