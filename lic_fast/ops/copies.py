"""Copies of maps: in another order, and several of them put together.

They are those of ``csrc/cpu/copy.cpp``, for the sake of the threads. After an operation that
PyTorch divides among its threads, all but one of them go on looking for work for a while, on the
processors on which the extension's own threads are to compute what follows. What that costs is in
``benchmarks/results/models-analysis.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.rows import array
from lic_fast.ops.threads import threads

__all__ = ["as_pixels", "channels_last", "dense", "of_groups", "stacked"]


def dense(x: Tensor) -> Tensor:
    """``x.contiguous()``, which is x itself if it is that already."""
    if x.is_contiguous() or not fast_on_cpu(x):
        return x.contiguous()
    return _copied(x, torch.empty(x.shape, dtype=x.dtype))


def channels_last(x: Tensor) -> Tensor:
    """``x.contiguous(memory_format=torch.channels_last)`` of a map (B, C, H, W)."""
    last = torch.channels_last
    if x.is_contiguous(memory_format=last) or not fast_on_cpu(x):
        return x.contiguous(memory_format=last)
    return _copied(x, torch.empty(x.shape, dtype=x.dtype, memory_format=last))


def as_pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) as (B, H, W, C) with channels side by side: x's own memory if they are."""
    if x.shape[1] > 1 and x.stride(1) != 1:
        x = channels_last(x)
    return x.permute(0, 2, 3, 1)


def of_groups(
    groups: int, x: Tensor, out: Tensor, residual: Tensor | None
) -> Iterator[tuple[Any, Any, Any]]:
    """Each group's channels of all three, which a convolution reads, writes and adds, as arrays."""
    skips = [None] * groups if residual is None else as_pixels(residual).chunk(groups, 3)
    parts = zip(as_pixels(x).chunk(groups, 3), as_pixels(out).chunk(groups, 3), skips, strict=True)
    for source, into, skip in parts:
        yield array(source), array(into), None if skip is None else array(skip)


def stacked(maps: Sequence[Tensor]) -> Tensor:
    """``torch.cat(maps, 1)``.

    Args:
        maps: At least one (B, C, H, W), of one type.

    Returns:
        (B, sum of C, H, W), with channels last where the fast path ran; the map itself if there
        is only one.
    """
    if len(maps) == 1:
        return maps[0]
    first = maps[0]
    alike = all(x.dtype == first.dtype and x.shape[2:] == first.shape[2:] for x in maps)
    if not alike or any(len(x) != len(first) for x in maps) or not fast_on_cpu(*maps):
        return torch.cat(list(maps), 1)
    channels = [x.shape[1] for x in maps]
    shape = (len(first), sum(channels), *first.shape[2:])
    out = torch.empty(shape, dtype=first.dtype, memory_format=torch.channels_last)
    for x, into in zip(maps, out.split(channels, 1), strict=True):
        _copied(x, into)
    return out


def _copied(x: Tensor, to: Tensor) -> Tensor:
    _C.copy(array(x), array(to), threads())
    return to
