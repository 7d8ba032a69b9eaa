r"""Latent residual prediction of a portable model: what is added to a quantised slice.

.. math:: \hat y' = \hat y + \tfrac12 \tanh(l)

in the steps of :func:`lic_fast.ops.exact.add_residual`, which give the same bits
everywhere; :func:`lic_fast.ops.add_residual` is that of floating-point models. On the
CPU ``csrc/integer`` computes it, on CUDA devices one launch of ``kernels/exact.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops import exact
from lic_fast.ops.channels_last import array_of
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.launch import launchable
from lic_fast.ops.threads import threads

__all__ = ["exact_add_residual", "reference"]

reference = exact.add_residual
"""The definition of :func:`exact_add_residual`."""


def exact_add_residual(quantized: Tensor, lrp: Tensor) -> Tensor:
    """Symbols + mean of a slice, and half the hyperbolic tangent of its residual network.

    Args:
        quantized: Any shape, float32, finite. Fastest as (B, C, H, W) with channels last.
        lrp: Of the same shape and type.

    Returns:
        quantized + tanh(lrp) / 2 of the same shape.

    Raises:
        ValueError: The operands are not of one shape.
        TypeError: They are not float32.
    """
    if quantized.shape != lrp.shape:
        raise ValueError(
            "quantized and lrp must have one shape, not "
            f"{tuple(quantized.shape)}, {tuple(lrp.shape)}"
        )
    if quantized.dtype != torch.float32 or lrp.dtype != torch.float32:
        raise TypeError(
            f"quantized and lrp must be torch.float32, not {quantized.dtype}, {lrp.dtype}"
        )
    if launchable(quantized, lrp, dtypes=(torch.float32,)):
        return torch.ops.lic_fast.exact_add_residual(quantized, lrp)
    if not exact_on_cpu(quantized) or quantized.dim() != 4:
        return reference(quantized, lrp)
    out = torch.empty(quantized.shape, memory_format=torch.channels_last)
    _C.exact_add_residual(array_of(quantized), array_of(lrp), array_of(out), threads())
    return out


@torch.library.custom_op("lic_fast::exact_add_residual", mutates_args=())
def _exact_add_residual(quantized: Tensor, lrp: Tensor) -> Tensor:
    return torch.empty_like(quantized).copy_(reference(quantized, lrp))


@_exact_add_residual.register_kernel("cuda")
def _launch(quantized: Tensor, lrp: Tensor) -> Tensor:
    from lic_fast.kernels import exact as kernels

    out = torch.empty_like(quantized)
    if out.numel():
        kernels.add_residual(quantized, lrp, out=out)
    return out


@_exact_add_residual.register_fake
def _(quantized: Tensor, lrp: Tensor) -> Tensor:
    return torch.empty_like(quantized)
