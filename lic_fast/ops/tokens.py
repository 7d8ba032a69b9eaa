"""Feature maps as runs of tokens, a cache's worth at a time."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

__all__ = ["as_tokens", "chunks"]

# Elements of the widest intermediate: 4 MiB in float32, which two cores keep in their caches.
# What it gains: benchmarks/results/layers.md, "Feed-forward half".
_ELEMENTS = 1 << 20


def as_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) with channels last to (B * H * W, C), the same memory."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def chunks(x: Tensor, out: Tensor, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of parts of `x` and `out`, (n, C) each, for an intermediate of `width` channels."""
    size = max(64, _ELEMENTS // width)
    return zip(x.split(size), out.split(size), strict=True)
