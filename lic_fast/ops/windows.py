"""Feature maps as windows of tokens, for definitions; fast paths have addresses instead."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["merge", "partition", "separated"]


def partition(x: Tensor, window_size: int, shift: int, parts: int, heads: int) -> Tensor:
    """(B, H, W, parts*C) in whole windows to (parts, B, windows, heads, tokens, head size)."""
    batch, height, width, _ = x.shape
    rows, columns = height // window_size, width // window_size
    if shift:
        x = x.roll((-shift, -shift), (1, 2))
    return (
        x.reshape(batch, rows, window_size, columns, window_size, parts, heads, -1)
        .permute(5, 0, 1, 3, 6, 2, 4, 7)
        .reshape(parts, batch, rows * columns, heads, window_size * window_size, -1)
    )


def merge(x: Tensor, shape: torch.Size, window_size: int, shift: int) -> Tensor:
    """The inverse of :func:`partition` of a map whose sides are those of `shape`."""
    batch, height, width = shape[:3]
    rows, columns = height // window_size, width // window_size
    parts, heads = x.shape[0], x.shape[3]
    x = x.view(parts, batch, rows, columns, heads, window_size, window_size, -1)
    x = x.permute(1, 2, 5, 3, 6, 0, 4, 7).reshape(batch, height, width, -1)
    return x.roll((shift, shift), (1, 2)) if shift else x


def separated(
    rows: int, columns: int, window_size: int, shift: int, device: torch.device
) -> Tensor:
    """(windows, tokens, tokens): whether two tokens met only through the cyclic shift."""
    # A token lies in a wrapped part of the last row or column of windows, or not.
    wrapped = torch.arange(window_size, device=device) >= window_size - shift
    down = torch.zeros(rows, window_size, dtype=torch.bool, device=device)
    down[-1] = wrapped
    across = torch.zeros(columns, window_size, dtype=torch.bool, device=device)
    across[-1] = wrapped
    region = 2 * down[:, None, :, None] + 1 * across[None, :, None, :]
    region = region.reshape(rows * columns, window_size * window_size)
    return region[:, :, None] != region[:, None, :]
