r"""What a slice's networks lead to, element by element: symbols, CDF indexes, y-hat, residual.

.. math::
    s &= \mathrm{round}(y - \mu), \quad \hat y = s + \mu \\
    i &= |\{k < n - 1 : t_k < \sigma\}| \\
    \hat y' &= \hat y + \tfrac12 \tanh(l)

in float32 with the scale table t of n entries. All but the last line is one IEEE-754 operation
after another, without a multiplication that could be contracted, so that symbols, indexes and
y-hat are the definition's bit for bit. Operands may have any strides; the results of all but
:func:`add_residual` are contiguous.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lic_fast.kernels.common import arranged, offset, round_half_even

__all__ = [
    "add_residual",
    "add_residual_kernel",
    "dequantize",
    "dequantize_kernel",
    "quantize",
    "quantize_kernel",
    "scale_index",
    "scale_index_kernel",
]

_BLOCK = 512
# Comparisons of a program that looks for scale indexes, which are as many registers.
_COMPARISONS = 8192


@triton.jit
def count_below(scale, table_ptr, thresholds, THRESHOLDS: tl.constexpr):
    """Table entries that are below each scale; all of them for NaN."""
    k = tl.arange(0, THRESHOLDS)
    table = tl.load(table_ptr + k, mask=k < thresholds, other=0.0)
    below = (k < thresholds)[None, :] & ~(table[None, :] >= scale[:, None])
    return tl.sum(below.to(tl.int32), 1)


@triton.jit
def quantize_kernel(
    y_ptr,
    mean_ptr,
    scale_ptr,
    table_ptr,
    symbols_ptr,
    indexes_ptr,
    y_hat_ptr,
    peak_ptr,
    count,
    thresholds,
    size1,
    size2,
    size3,
    y0,
    y1,
    y2,
    y3,
    mean0,
    mean1,
    mean2,
    mean3,
    scale0,
    scale1,
    scale2,
    scale3,
    THRESHOLDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Also leaves the bits of the largest magnitude in `peak`, NaN above all others."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < count
    at = offset(i, size1, size2, size3, y0, y1, y2, y3)
    y = tl.load(y_ptr + at, mask=there, other=0.0)
    at = offset(i, size1, size2, size3, mean0, mean1, mean2, mean3)
    mean = tl.load(mean_ptr + at, mask=there, other=0.0)
    at = offset(i, size1, size2, size3, scale0, scale1, scale2, scale3)
    scale = tl.load(scale_ptr + at, mask=there, other=0.0)

    rounded = round_half_even(y - mean)
    # Magnitudes are ordered as their bits are. What no symbol can be is not converted, since the
    # result would be undefined; the peak reports it.
    magnitude = tl.abs(rounded)
    tl.atomic_max(peak_ptr, tl.max(magnitude.to(tl.int32, bitcast=True), 0), sem="relaxed")
    symbols = tl.where(magnitude < 536870912.0, rounded, 0.0).to(tl.int32)
    tl.store(symbols_ptr + i, symbols.to(symbols_ptr.dtype.element_ty), mask=there)
    indexes = count_below(scale, table_ptr, thresholds, THRESHOLDS)
    tl.store(indexes_ptr + i, indexes.to(tl.uint8), mask=there)
    tl.store(y_hat_ptr + i, rounded + mean, mask=there)


@triton.jit
def scale_index_kernel(
    scale_ptr,
    table_ptr,
    indexes_ptr,
    count,
    thresholds,
    size1,
    size2,
    size3,
    scale0,
    scale1,
    scale2,
    scale3,
    THRESHOLDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Indexes of the scales."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < count
    at = offset(i, size1, size2, size3, scale0, scale1, scale2, scale3)
    scale = tl.load(scale_ptr + at, mask=there, other=0.0)
    indexes = count_below(scale, table_ptr, thresholds, THRESHOLDS)
    tl.store(indexes_ptr + i, indexes.to(tl.uint8), mask=there)


@triton.jit
def dequantize_kernel(
    symbols_ptr,
    mean_ptr,
    out_ptr,
    count,
    size1,
    size2,
    size3,
    symbols0,
    symbols1,
    symbols2,
    symbols3,
    mean0,
    mean1,
    mean2,
    mean3,
    BLOCK: tl.constexpr,
):
    """Symbols + mean."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < count
    at = offset(i, size1, size2, size3, symbols0, symbols1, symbols2, symbols3)
    symbols = tl.load(symbols_ptr + at, mask=there, other=0)
    at = offset(i, size1, size2, size3, mean0, mean1, mean2, mean3)
    mean = tl.load(mean_ptr + at, mask=there, other=0.0)
    tl.store(out_ptr + i, symbols.to(tl.float32) + mean, mask=there)


@triton.jit
def add_residual_kernel(
    quantized_ptr,
    lrp_ptr,
    out_ptr,
    count,
    size1,
    size2,
    size3,
    quantized0,
    quantized1,
    quantized2,
    quantized3,
    lrp0,
    lrp1,
    lrp2,
    lrp3,
    BLOCK: tl.constexpr,
):
    """Quantized + tanh(lrp) / 2, the hyperbolic tangent to some 2^-23 absolutely."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < count
    at = offset(i, size1, size2, size3, quantized0, quantized1, quantized2, quantized3)
    quantized = tl.load(quantized_ptr + at, mask=there, other=0.0).to(tl.float32)
    at = offset(i, size1, size2, size3, lrp0, lrp1, lrp2, lrp3)
    lrp = tl.load(lrp_ptr + at, mask=there, other=0.0).to(tl.float32)
    # Of the magnitude: the exponential cannot overflow.
    decay = tl.exp(-2.0 * tl.abs(lrp))
    residual = 0.5 * (1.0 - decay) / (1.0 + decay)
    residual = tl.where(lrp < 0, -residual, residual)
    tl.store(out_ptr + i, (quantized + residual).to(out_ptr.dtype.element_ty), mask=there)


def threshold_blocks(entries: int) -> tuple[int, int]:
    """THRESHOLDS and BLOCK of the kernels that look for scale indexes, for a table's entries."""
    thresholds = triton.next_power_of_2(max(1, entries - 1))
    return thresholds, min(_BLOCK, _COMPARISONS // thresholds)


def quantize(
    y: Tensor,
    mean: Tensor,
    scale: Tensor,
    scale_table: Tensor,
    *,
    symbols: Tensor,
    indexes: Tensor,
    y_hat: Tensor,
    peak: Tensor,
) -> None:
    """Writes round(y - mean), the scales' indexes and round(y - mean) + mean.

    Args:
        y: float32, any shape and strides, below 2^31 elements.
        mean: float32 of that shape, any strides.
        scale: float32 of that shape, any strides.
        scale_table: (n,) float32 contiguous, ascending, 1 <= n <= 256.
        symbols: int16 or int32, contiguous, of y's shape. A symbol outside the type is
            written as something else.
        indexes: uint8, contiguous, of y's shape.
        y_hat: float32, contiguous, of y's shape.
        peak: One int32, at first zero: becomes the bits, as float32, of the largest magnitude
            of a symbol, or those of a NaN if there is one.
    """
    sizes, strides, operands = arranged(y, mean, scale)
    thresholds, block = threshold_blocks(len(scale_table))
    with torch.cuda.device_of(y):
        quantize_kernel[(triton.cdiv(y.numel(), block),)](
            *operands,
            scale_table,
            symbols,
            indexes,
            y_hat,
            peak,
            y.numel(),
            len(scale_table) - 1,
            *sizes,
            *strides,
            THRESHOLDS=thresholds,
            BLOCK=block,
        )


def scale_index(scales: Tensor, scale_table: Tensor, *, indexes: Tensor) -> None:
    """Writes the scales' indexes; operands as for :func:`quantize`."""
    sizes, strides, operands = arranged(scales)
    thresholds, block = threshold_blocks(len(scale_table))
    with torch.cuda.device_of(scales):
        scale_index_kernel[(triton.cdiv(scales.numel(), block),)](
            *operands,
            scale_table,
            indexes,
            scales.numel(),
            len(scale_table) - 1,
            *sizes,
            *strides,
            THRESHOLDS=thresholds,
            BLOCK=block,
        )


def dequantize(symbols: Tensor, mean: Tensor, *, y_hat: Tensor) -> None:
    """Writes symbols + mean.

    Args:
        symbols: int16 or int32, any shape and strides, below 2^31 elements.
        mean: float32 of that shape, any strides.
        y_hat: float32, contiguous, of that shape.
    """
    sizes, strides, operands = arranged(symbols, mean)
    with torch.cuda.device_of(mean):
        dequantize_kernel[(triton.cdiv(mean.numel(), _BLOCK),)](
            *operands, y_hat, mean.numel(), *sizes, *strides, BLOCK=_BLOCK
        )


def add_residual(quantized: Tensor, lrp: Tensor, *, out: Tensor) -> None:
    """Writes quantized + tanh(lrp) / 2.

    Args:
        quantized: float32, bfloat16 or float16, any shape and strides, below 2^31 elements.
        lrp: Of that shape and type, any strides.
        out: Of that shape and type, dense in some order of its dimensions.
    """
    # In the order of the output's dimensions in memory, the i-th element is at offset i.
    order = sorted(range(out.dim()), key=out.stride, reverse=True)
    sizes, strides, operands = arranged(quantized.permute(order), lrp.permute(order))
    with torch.cuda.device_of(out):
        add_residual_kernel[(triton.cdiv(out.numel(), _BLOCK),)](
            *operands, out, out.numel(), *sizes, *strides, BLOCK=_BLOCK
        )
