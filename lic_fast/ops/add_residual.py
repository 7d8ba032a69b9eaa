r"""Latent residual prediction: what is added to a quantised slice.

.. math:: \hat y' = \hat y + \tfrac12 \tanh(l)

(Minnen and Singh, "Channel-wise Autoregressive Entropy Models for Learned Image
Compression", ICIP 2020, section 3.2.)

On CUDA devices one launch of ``kernels/slice_step.py``; elsewhere it is the definition,
:func:`reference`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast.ops.launch import launchable
from lic_fast.ops.recompute import register_gradient

__all__ = ["add_residual", "reference"]


def add_residual(quantized: Tensor, lrp: Tensor) -> Tensor:
    """Symbols + mean of a slice, and half the hyperbolic tangent of its residual network.

    Args:
        quantized: Any shape, floating point.
        lrp: Of the same shape and type.

    Returns:
        quantized + tanh(lrp) / 2. Of the kernel the hyperbolic tangent is off by some 2^-23
        absolutely, not relatively.

    Raises:
        ValueError: The operands are not of one shape.
        TypeError: They are not of one floating-point type.
    """
    if quantized.shape != lrp.shape:
        raise ValueError(
            "quantized and lrp must have one shape, not "
            f"{tuple(quantized.shape)}, {tuple(lrp.shape)}"
        )
    if quantized.dtype != lrp.dtype or not lrp.is_floating_point():
        raise TypeError(
            "quantized and lrp must have one floating-point type, not "
            f"{quantized.dtype}, {lrp.dtype}"
        )
    if launchable(quantized, lrp):
        return torch.ops.lic_fast.add_residual(quantized, lrp)
    return reference(quantized, lrp)


def reference(quantized: Tensor, lrp: Tensor) -> Tensor:
    """The definition of :func:`add_residual`, in plain PyTorch."""
    return quantized + 0.5 * torch.tanh(lrp)


@torch.library.custom_op("lic_fast::add_residual", mutates_args=())
def _add_residual(quantized: Tensor, lrp: Tensor) -> Tensor:
    return torch.empty_like(quantized).copy_(reference(quantized, lrp))


@_add_residual.register_kernel("cuda")
def _launch(quantized: Tensor, lrp: Tensor) -> Tensor:
    from lic_fast.kernels import slice_step

    out = torch.empty_like(quantized)
    if out.numel():
        slice_step.add_residual(quantized, lrp, out=out)
    return out


@_add_residual.register_fake
def _(quantized: Tensor, lrp: Tensor) -> Tensor:
    return torch.empty_like(quantized)


register_gradient(_add_residual, reference)
