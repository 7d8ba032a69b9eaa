"""Maps as arrays with channels last, and back, without a copy where there need be none."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["array_of", "map_of"]


def array_of(x: Tensor) -> npt.NDArray[Any]:
    """(B, C, H, W) on the CPU as an array (B, H, W, C), its channels side by side.

    Some of the channels of a larger map with channels last are a view of it.

    Raises:
        ValueError: `x` has not four dimensions.
    """
    if x.dim() != 4:
        raise ValueError(f"a map must be (B, C, H, W), not {tuple(x.shape)}")
    x = x.detach()
    if x.stride(1) != 1:
        x = x.contiguous(memory_format=torch.channels_last)
    return x.permute(0, 2, 3, 1).numpy()


def map_of(array: npt.NDArray[Any]) -> Tensor:
    """(B, H, W, C) as a map (B, C, H, W) in the same memory."""
    return torch.from_numpy(array).permute(0, 3, 1, 2)
