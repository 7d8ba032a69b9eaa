r"""Latent residual prediction of a portable model: what is added to a quantised slice.

.. math:: \hat y' = \hat y + \tfrac12 \tanh(l)

in the steps of :func:`lic_fast.ops.exact.add_residual`, which give the same bits
everywhere; :func:`lic_fast.ops.add_residual` is that of floating-point models. On the
CPU ``csrc/integer`` computes it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops import exact
from lic_fast.ops.backend import current_backend
from lic_fast.ops.channels_last import array_of

__all__ = ["exact_add_residual", "reference"]

reference = exact.add_residual
"""The definition of :func:`exact_add_residual`."""


def exact_add_residual(quantized: Tensor, lrp: Tensor) -> Tensor:
    """Symbols + mean of a slice, and half the hyperbolic tangent of its residual network.

    Args:
        quantized: (B, C, H, W) float32. Fastest with channels last.
        lrp: Of the same shape and type.

    Returns:
        quantized + tanh(lrp) / 2 of the same shape.

    Raises:
        ValueError: The operands are not of one shape with four dimensions.
        TypeError: They are not float32.
    """
    if quantized.dim() != 4 or quantized.shape != lrp.shape:
        raise ValueError(
            "quantized and lrp must have one shape (B, C, H, W), not "
            f"{tuple(quantized.shape)}, {tuple(lrp.shape)}"
        )
    if quantized.dtype != torch.float32 or lrp.dtype != torch.float32:
        raise TypeError(
            f"quantized and lrp must be torch.float32, not {quantized.dtype}, {lrp.dtype}"
        )
    if quantized.device.type != "cpu" or current_backend() == "reference":
        return reference(quantized, lrp)
    out = torch.empty(quantized.shape, memory_format=torch.channels_last)
    _C.exact_add_residual(
        array_of(quantized), array_of(lrp), array_of(out), torch.get_num_threads()
    )
    return out
