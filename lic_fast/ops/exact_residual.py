r"""Latent residual prediction in a portable model: the same bits on every machine.

.. math:: \hat y' = \hat y + \tfrac12 \tanh(l)

as :mod:`lic_fast.ops.add_residual`, in float32 with the hyperbolic tangent of
:mod:`lic_fast.ops.exact`. On CUDA devices one launch of ``kernels/exact.py``;
elsewhere it is the definition, :func:`reference`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast.ops import exact
from lic_fast.ops.launch import launchable

__all__ = ["exact_residual", "reference"]


def exact_residual(quantized: Tensor, lrp: Tensor) -> Tensor:
    """Symbols + mean of a slice, and half the hyperbolic tangent of its residual network.

    Args:
        quantized: Any shape, float32, finite.
        lrp: Of the same shape and type, finite.

    Returns:
        quantized + tanh(lrp) / 2.

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
        raise TypeError(f"quantized and lrp must be float32, not {quantized.dtype}, {lrp.dtype}")
    if launchable(quantized, lrp, dtypes=(torch.float32,)):
        return torch.ops.lic_fast.exact_residual(quantized, lrp)
    return reference(quantized, lrp)


def reference(quantized: Tensor, lrp: Tensor) -> Tensor:
    """The definition of :func:`exact_residual`."""
    return quantized + 0.5 * exact.tanh(lrp)


@torch.library.custom_op("lic_fast::exact_residual", mutates_args=())
def _exact_residual(quantized: Tensor, lrp: Tensor) -> Tensor:
    return torch.empty_like(quantized).copy_(reference(quantized, lrp))


@_exact_residual.register_kernel("cuda")
def _launch(quantized: Tensor, lrp: Tensor) -> Tensor:
    from lic_fast.kernels import exact as kernels

    out = torch.empty_like(quantized)
    if out.numel():
        kernels.add_residual(quantized, lrp, out=out)
    return out


@_exact_residual.register_fake
def _(quantized: Tensor, lrp: Tensor) -> Tensor:
    return torch.empty_like(quantized)
