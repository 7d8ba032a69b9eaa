"""Layers on a few rows of a map at a time, so that what is wide between them is never whole."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

__all__ = ["in_bands", "rows_of_band"]

# Elements of the widest intermediate of a band. For layers that are next to each other in the
# cache's reach: 16 MiB in float32, a few bands' worth of it.
_ELEMENTS = 1 << 22
# For those that are not, and whose halo costs: as many as memory does not mind.
_MANY_ELEMENTS = 1 << 25


def rows_of_band(x: Tensor, *, halo: int, width: int, align: int = 1, wide: bool = False) -> int:
    """Rows of a band of x, (B, N, H, W), as :func:`in_bands` chooses them; H and more for all."""
    halo = -(-halo // align) * align
    elements = _MANY_ELEMENTS if wide else _ELEMENTS
    rows = max(1, 8 * halo, elements // max(1, len(x) * width))
    return -(-rows // align) * align


def in_bands(
    layers: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    halo: int,
    scale: int | Fraction = 1,
    width: int,
    align: int = 1,
    wide: bool = False,
) -> Tensor:
    """``layers(x)``, computed for bands of rows, so that no wide intermediate is held in whole.

    Equal to ``layers(x)`` up to rounding, if a row of the result depends only on the rows of `x`
    that are at most `halo` away, and rows beyond the edge count as zero.

    Args:
        layers: (B, N, H, W) to (B, M, scale * H, W').
        x: (B, N, H, W).
        halo: Rows of x on each side.
        scale: Rows of the result for each of x; H and `align` times it are integers.
        width: Elements of the widest intermediate for each row of x.
        align: Bands begin at multiples of it, as attention's windows do.
        wide: Whether bands are as wide as memory allows rather than the cache.
    """
    height = x.shape[2]
    halo = -(-halo // align) * align
    rows = rows_of_band(x, halo=halo, width=width, align=align, wide=wide)
    if rows >= height:
        return layers(x)
    out: Tensor | None = None
    for first in range(0, height, rows):
        last = min(height, first + rows)
        above, below = min(halo, first), min(halo, height - last)
        band = layers(x[:, :, first - above : last + below])
        if out is None:
            shape = (*band.shape[:2], int(scale * height), band.shape[3])
            out = torch.empty(
                shape, dtype=band.dtype, device=band.device, memory_format=torch.channels_last
            )
        out[:, :, int(scale * first) : int(scale * last)] = band[
            :, :, int(scale * above) : int(scale * (above + last - first))
        ]
        del band  # before the next one
    assert out is not None
    return out
