r"""Rounding, and the scale index that names a latent's CDF.

On the CPU, float32 goes to ``csrc/latents``: one pass over y, mean and scale, of any memory
layout, on several threads, and an index in two or three steps instead of a comparison with
each entry of the table. The results are those of the definitions bit for bit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.errors import LatentError
from lic_fast.ops.backend import current_backend

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
    search = _fused_search(scale_table, scales)
    if search is not None:
        indexes = torch.empty(scales.shape, dtype=torch.uint8)
        threads = torch.get_num_threads()
        _C.scale_index(scales.detach().numpy(), search, indexes.numpy(), threads)
        return indexes
    # Entry i is below the scale exactly when the scale's left insertion point is past i.
    return torch.bucketize(scales.contiguous(), scale_table[:-1], right=False).to(torch.uint8)


class QuantizedLatents(NamedTuple):
    """What :func:`quantize` gives, each of the shape of its operands and contiguous.

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
    if not y.shape == mean.shape == scale.shape:
        raise ValueError(
            "y, mean and scale must have one shape, not "
            f"{tuple(y.shape)}, {tuple(mean.shape)} and {tuple(scale.shape)}"
        )
    search = _fused_search(scale_table, y, mean, scale)
    if search is not None:
        fused = QuantizedLatents(
            torch.empty(y.shape, dtype=torch.int16),
            torch.empty(y.shape, dtype=torch.uint8),
            torch.empty(y.shape),
        )
        all_narrow = _C.quantize(
            y.detach().numpy(),
            mean.detach().numpy(),
            scale.detach().numpy(),
            search,
            fused.symbols.numpy(),
            fused.indexes.numpy(),
            fused.y_hat.numpy(),
            torch.get_num_threads(),
        )
        if all_narrow:
            return fused
    symbols = (y - mean).round()
    plain = (to_symbols(symbols), scale_index(scale, scale_table), symbols + mean)
    return QuantizedLatents(*(x.contiguous() for x in plain))


def dequantize(symbols: Tensor, mean: Tensor) -> Tensor:
    """Symbols + mean, of the type of the means: CompressAI's ``dequantize``.

    Args:
        symbols: int16 or int32, any shape.
        mean: Of the same shape, floating point.

    Raises:
        ValueError: The shapes differ.
    """
    if symbols.shape != mean.shape:
        raise ValueError(
            f"symbols have shape {tuple(symbols.shape)}, their means {tuple(mean.shape)}"
        )
    if _is_fusible(mean) and symbols.dtype in (torch.int16, torch.int32):
        y_hat = torch.empty(mean.shape)
        integers = symbols.contiguous().numpy()
        _C.dequantize(integers, mean.detach().numpy(), y_hat.numpy(), torch.get_num_threads())
        return y_hat
    return symbols.to(mean.dtype) + mean


def _is_fusible(*operands: Tensor) -> bool:
    return current_backend() == "auto" and all(
        x.device.type == "cpu" and x.dtype == torch.float32 for x in operands
    )


def _fused_search(scale_table: Tensor, *operands: Tensor) -> _C.ScaleSearch | None:
    """The prepared table, if these operands can go to the fused code."""
    if not _is_fusible(scale_table, *operands):
        return None
    # By its values, since a table may be changed in place.
    return _search(scale_table.detach().numpy().tobytes())


@lru_cache(maxsize=16)
def _search(table: bytes) -> _C.ScaleSearch | None:
    try:
        return _C.ScaleSearch(np.frombuffer(table, np.float32))
    except ValueError:  # not ascending or not positive: no scales, but the definition takes them
        return None
