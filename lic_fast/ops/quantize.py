r"""Rounding, and the scale index that names a latent's CDF."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lic_fast.errors import LatentError

__all__ = ["QuantizedLatents", "dequantize", "quantize", "round_ste", "scale_index", "to_symbols"]


# Symbols beyond this are not latents of a sane model, and the escape codes of the streams end not
# far above.
_LARGEST_SYMBOL = 2**29


def round_ste(x: Tensor) -> Tensor:
    """Rounds to nearest, ties to even, with the identity as gradient.

    The straight-through estimator of Theis et al., "Lossy Image Compression
    with Compressive Autoencoders", ICLR 2017, section 2.2. The value is exactly
    ``torch.round(x)``: the usual ``round(x) - x.detach() + x`` can be off by a
    unit in the last place, which a decoder would not reproduce.
    """
    return _RoundSTE.apply(x)


class _RoundSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: object, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


def scale_index(scales: Tensor, scale_table: Tensor) -> Tensor:
    """Index of the CDF that codes a latent of the given scale.

    The number of table entries, the last left out, that are below the scale
    (CompressAI's ``GaussianConditional.build_indexes``). A NaN, which only a
    decoder gone wrong can see, counts as the largest scale.

    Args:
        scales: Standard deviations, any shape, float.
        scale_table: (n,) ascending standard deviations.

    Returns:
        uint8 of the shape of `scales`, in 0..n-1.

    Raises:
        ValueError: The table has more than 256 entries, or none.
    """
    if not 1 <= scale_table.numel() <= 256:
        raise ValueError(f"a scale table holds 1 to 256 entries, not {scale_table.numel()}")
    # Entry i is below the scale exactly when the scale's left insertion point is past i.
    return torch.bucketize(scales, scale_table[:-1], right=False).to(torch.uint8)


class QuantizedLatents(NamedTuple):
    """What :func:`quantize` gives, each of the shape of its operands.

    Attributes:
        symbols: round(y - mean), ties to even; int16 or int32.
        indexes: :func:`scale_index` of the scales, uint8.
        y_hat: symbols + mean, of the operands' type.
    """

    symbols: Tensor
    indexes: Tensor
    y_hat: Tensor


def to_symbols(values: Tensor) -> Tensor:
    """Rounded latents as int32 on the CPU.

    Args:
        values: Integers of a floating-point type, any shape.

    Raises:
        LatentError: A value is NaN, infinite or beyond 2^29.
    """
    if values.numel() and not bool(values.abs().max() < _LARGEST_SYMBOL):
        raise LatentError(
            "the latents are not finite, or beyond 2^29: check that the picture's values are "
            "in [0, 1] and that the weights are those of a trained model"
        )
    return values.to(torch.int32).cpu()


def quantize(y: Tensor, mean: Tensor, scale: Tensor, scale_table: Tensor) -> QuantizedLatents:
    """Latents to what the entropy coder takes, and to what its decoder will give.

    CompressAI's ``GaussianConditional.quantize(y, "symbols", mean)``,
    ``build_indexes(scale)`` and ``dequantize``.

    Args:
        y: Latents, any shape, floating point.
        mean: Their means, of the same shape and type.
        scale: Their standard deviations, of the same shape and type.
        scale_table: (n,) ascending standard deviations of the CDFs.

    Raises:
        LatentError: A symbol is not finite, or 2^29 or more in magnitude.
        ValueError: The table has more than 256 entries, or none.
    """
    symbols = (y - mean).round()
    return QuantizedLatents(to_symbols(symbols), scale_index(scale, scale_table), symbols + mean)


def dequantize(symbols: Tensor, mean: Tensor) -> Tensor:
    """Symbols + mean, of the type of the means: CompressAI's ``dequantize``.

    Args:
        symbols: int16 or int32, any shape.
        mean: Of the same shape, floating point.
    """
    return symbols.to(mean.dtype) + mean
