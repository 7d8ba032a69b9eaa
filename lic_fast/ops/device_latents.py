r"""Latents to symbols and back on a device that the host does not wait for.

:func:`lic_fast.ops.quantize` decides by the largest symbol which type symbols have, and raises
for those that no stream holds: on a GPU the host waits for that. Here symbols are int32, written
where the caller says, and the largest magnitude is left on the device for the caller to look at
when everything else is done. On CUDA devices float32 goes to ``kernels/slice_step.py``, one
launch for each operator; everything else is the definitions, in operations that do not wait.

These operators are for coding: no gradient goes through them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast.ops.launch import launchable
from lic_fast.ops.quantize import (
    checked_table,
    reference_dequantize,
    reference_scale_index,
)
from lic_fast.runtime.coding import LARGEST_SYMBOL

__all__ = ["dequantize", "new_peak", "quantize", "scale_index", "store_symbols"]

_LAUNCHED = (torch.float32,)


def new_peak(like: Tensor) -> Tensor:
    """(1,) zero, float32, or float64 for latents of that type: room for the largest magnitude."""
    wide = torch.float64 if like.dtype == torch.float64 else torch.float32
    return torch.zeros(1, dtype=wide, device=like.device)


def store_symbols(rounded: Tensor, *, symbols: Tensor, peak: Tensor) -> None:
    """Rounded latents as int32.

    Args:
        rounded: Integers of a floating-point type, any shape.
        symbols: int32 of that shape. Where a magnitude is not below 2^29, 0 is written.
        peak: See :func:`new_peak`: becomes the largest magnitude if that is larger than what
            it holds, or NaN if there is one.
    """
    magnitude = rounded.abs()
    torch.maximum(peak, magnitude.amax().to(peak.dtype).view(1), out=peak)
    symbols.copy_(torch.where(magnitude < LARGEST_SYMBOL, rounded, 0))


def quantize(
    y: Tensor,
    mean: Tensor,
    scale: Tensor,
    scale_table: Tensor,
    *,
    symbols: Tensor,
    indexes: Tensor,
    peak: Tensor,
) -> Tensor:
    """:func:`lic_fast.ops.quantize`, with room for its results.

    Args:
        y: Latents, any shape but empty, floating point.
        mean: Their means, of the same shape and type.
        scale: Their standard deviations, of the same shape and type.
        scale_table: (n,) ascending standard deviations of the CDFs.
        symbols: int32 contiguous of that shape, see :func:`store_symbols`.
        indexes: uint8 contiguous of that shape.
        peak: See :func:`store_symbols`.

    Returns:
        round(y - mean) + mean, contiguous.
    """
    if launchable(y, mean, scale, scale_table, peak, dtypes=_LAUNCHED):
        return torch.ops.lic_fast.device_quantize(
            y, mean, scale, scale_table, symbols, indexes, peak
        )
    return _quantize_definition(y, mean, scale, scale_table, symbols, indexes, peak)


def scale_index(scales: Tensor, scale_table: Tensor) -> Tensor:
    """:func:`lic_fast.ops.scale_index` of scales on a device; they must not be empty."""
    if launchable(scales, scale_table, dtypes=_LAUNCHED):
        return torch.ops.lic_fast.device_scale_index(scales, scale_table)
    return reference_scale_index(scales, scale_table)


def dequantize(symbols: Tensor, mean: Tensor) -> Tensor:
    """:func:`lic_fast.ops.dequantize` of int32 symbols on the means' device, not empty."""
    if launchable(mean, dtypes=_LAUNCHED):
        return torch.ops.lic_fast.device_dequantize(symbols, mean)
    return reference_dequantize(symbols, mean)


def _quantize_definition(
    y: Tensor,
    mean: Tensor,
    scale: Tensor,
    scale_table: Tensor,
    symbols: Tensor,
    indexes: Tensor,
    peak: Tensor,
) -> Tensor:
    rounded = (y - mean).round()
    store_symbols(rounded, symbols=symbols, peak=peak)
    indexes.copy_(reference_scale_index(scale, scale_table))
    return (rounded + mean).contiguous()


@torch.library.custom_op("lic_fast::device_quantize", mutates_args=("symbols", "indexes", "peak"))
def _quantize(
    y: Tensor,
    mean: Tensor,
    scale: Tensor,
    scale_table: Tensor,
    symbols: Tensor,
    indexes: Tensor,
    peak: Tensor,
) -> Tensor:
    return _quantize_definition(y, mean, scale, scale_table, symbols, indexes, peak)


@_quantize.register_kernel("cuda")
def _launch_quantize(
    y: Tensor,
    mean: Tensor,
    scale: Tensor,
    scale_table: Tensor,
    symbols: Tensor,
    indexes: Tensor,
    peak: Tensor,
) -> Tensor:
    from lic_fast.kernels import slice_step

    y_hat = torch.empty(y.shape, dtype=torch.float32, device=y.device)
    # As bits, of which the kernel takes the maximum.
    bits = peak.view(torch.int32)
    slice_step.quantize(
        y,
        mean,
        scale,
        checked_table(scale_table),
        symbols=symbols,
        indexes=indexes,
        y_hat=y_hat,
        peak=bits,
    )
    return y_hat


@_quantize.register_fake
def _(
    y: Tensor,
    mean: Tensor,
    scale: Tensor,
    scale_table: Tensor,
    symbols: Tensor,
    indexes: Tensor,
    peak: Tensor,
) -> Tensor:
    return torch.empty(y.shape, dtype=y.dtype, device=y.device)


@torch.library.custom_op("lic_fast::device_scale_index", mutates_args=())
def _scale_index(scales: Tensor, scale_table: Tensor) -> Tensor:
    return reference_scale_index(scales, scale_table)


@_scale_index.register_kernel("cuda")
def _launch_scale_index(scales: Tensor, scale_table: Tensor) -> Tensor:
    from lic_fast.kernels import slice_step

    indexes = torch.empty(scales.shape, dtype=torch.uint8, device=scales.device)
    slice_step.scale_index(scales, checked_table(scale_table), indexes=indexes)
    return indexes


@_scale_index.register_fake
def _(scales: Tensor, scale_table: Tensor) -> Tensor:
    return torch.empty(scales.shape, dtype=torch.uint8, device=scales.device)


@torch.library.custom_op("lic_fast::device_dequantize", mutates_args=())
def _dequantize(symbols: Tensor, mean: Tensor) -> Tensor:
    return torch.empty(mean.shape, dtype=mean.dtype, device=mean.device).copy_(symbols + mean)


@_dequantize.register_kernel("cuda")
def _launch_dequantize(symbols: Tensor, mean: Tensor) -> Tensor:
    from lic_fast.kernels import slice_step

    y_hat = torch.empty(mean.shape, dtype=torch.float32, device=mean.device)
    slice_step.dequantize(symbols, mean, y_hat=y_hat)
    return y_hat


@_dequantize.register_fake
def _(symbols: Tensor, mean: Tensor) -> Tensor:
    return torch.empty(mean.shape, dtype=mean.dtype, device=mean.device)
