"""What floors are made of: a part's operations, and a convolution that shows the machine's rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from lic_fast import backend
from lic_fast.ops import integer_conv2d

_CHANNELS = 192
_SIDE = 128
CONVOLUTION = f"3x3, {_CHANNELS} to {_CHANNELS} channels at {_SIDE}x{_SIDE} outputs, channels last"


def count_flops(work: Callable[[], Any]) -> int:
    """Floating-point operations of convolutions and matrix products, two per multiply-add.

    The work must be on the reference backend: of fused operators nothing is counted.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def convolution(dtype: torch.dtype, device: str) -> tuple[Callable[[], Any], int]:
    """A convolution that the machine is good at, and its number of operations.

    In int8 the exact one of portable models, with activations of 7 bits, and a stride of 2: those
    of stride 1 are not computed directly on all processors.
    """
    if dtype == torch.int8:
        count = 2 * 9 * _CHANNELS**2 * _SIDE**2
        shape = (_CHANNELS, _CHANNELS, 3, 3)
        weights = torch.randint(-127, 128, shape, dtype=torch.int8, device=device)
        activations = torch.randint(
            0, 128, (1, _CHANNELS, 2 * _SIDE, 2 * _SIDE), dtype=torch.uint8, device=device
        ).contiguous(memory_format=torch.channels_last)
        border = torch.zeros(_CHANNELS, dtype=torch.uint8, device=device)

        def integers() -> None:
            # Floors run as the reference does, which computes this in float64.
            with backend("auto"):
                integer_conv2d([activations], weights, border=[border], stride=2)

        return integers, count
    x = torch.randn(1, _CHANNELS, _SIDE, _SIDE, dtype=dtype, device=device)
    weight = torch.randn(_CHANNELS, _CHANNELS, 3, 3, dtype=dtype, device=device)
    x, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
    return lambda: F.conv2d(x, weight, padding=1), 2 * 9 * _CHANNELS**2 * _SIDE**2
