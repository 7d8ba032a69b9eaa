"""What is seen of a map while a floating-point model codes the calibration pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Observed"]


@dataclass
class Observed:
    """Statistics of a map's channels.

    Attributes:
        low: (N,) smallest values.
        high: (N,) largest values.
        mean: (N,) means.
        square: (N,) means of squares.
        count: Values of a channel that were seen.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    square: Tensor
    count: int

    @classmethod
    def of(cls, x: Tensor, dim: int = 1) -> Observed:
        """The statistics of a map whose channels are the dimension `dim`."""
        channels = x.detach().movedim(dim, 0).flatten(1).double()
        return cls(
            channels.amin(1),
            channels.amax(1),
            channels.mean(1),
            channels.square().mean(1),
            channels.shape[1],
        )

    def __add__(self, other: Observed) -> Observed:
        """Of both maps' values."""
        count = self.count + other.count
        share, rest = self.count / count, other.count / count
        return Observed(
            torch.minimum(self.low, other.low),
            torch.maximum(self.high, other.high),
            share * self.mean + rest * other.mean,
            share * self.square + rest * other.square,
            count,
        )

    def __getitem__(self, channels: slice) -> Observed:
        """Of some channels."""
        return Observed(
            self.low[channels],
            self.high[channels],
            self.mean[channels],
            self.square[channels],
            self.count,
        )
