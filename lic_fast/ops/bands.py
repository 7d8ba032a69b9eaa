"""Convolutions on a few rows of a map at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["in_bands"]

# Elements of the widest intermediate of a band: 16 MiB in float32, a few bands' worth of cache,
# so that the rows computed twice at the bands' edges stay few.
_ELEMENTS = 1 << 22


def in_bands(
    layers: Callable[[Tensor], Tensor], x: Tensor, *, halo: int, scale: int, width: int
) -> Tensor:
    """``layers(x)``, computed for bands of rows, so that no wide intermediate is held in whole.

    Equal to ``layers(x)`` up to rounding, if a row of the result depends only on the rows of `x`
    that are at most `halo` away, and rows beyond the edge count as zero.

    Args:
        layers: (B, N, H, W) to (B, M, scale * H, W').
        x: (B, N, H, W).
        halo: Rows of x on each side.
        scale: Rows of the result for each of x.
        width: Elements of the widest intermediate for each row of x.
    """
    height = x.shape[2]
    rows = max(8 * halo, _ELEMENTS // max(1, len(x) * width))
    if rows >= height:
        return layers(x)
    out: Tensor | None = None
    for first in range(0, height, rows):
        last = min(height, first + rows)
        above, below = min(halo, first), min(halo, height - last)
        band = layers(x[:, :, first - above : last + below])
        if out is None:
            shape = (*band.shape[:2], scale * height, band.shape[3])
            out = torch.empty(
                shape, dtype=band.dtype, device=band.device, memory_format=torch.channels_last
            )
        out[:, :, scale * first : scale * last] = band[
            :, :, scale * above : scale * (above + last - first)
        ]
    assert out is not None
    return out
