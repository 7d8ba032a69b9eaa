"""From the range of a map to the activations that stand for it."""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast.entropy.integer.observed import Observed
from lic_fast.ops.integer_layer import Quantizer

__all__ = ["HEADROOM", "quantizer_of", "step_of"]

HEADROOM = 1.5
"""Range given to a channel over the range seen, for pictures that were not."""

# A channel that hardly moves in the calibration pictures gets this share of the mean range.
_SMALLEST_RANGE = 0.01


def quantizer_of(seen: Observed, bits: int, used: int | None = None) -> Quantizer:
    """A quantizer whose activations reach over the range seen, each channel's for itself.

    Zero is an activation, exactly. With 14 bits it is 128 k + 64, so that the
    high half alone is an activation of 7 bits whose zero is k and whose step is
    128 times as large, rounded and not cut off.

    Args:
        seen: The map.
        bits: 7 or 14.
        used: Of 14 bits how many the range takes, if not all: then the high half alone is of no
            use. What is above the range has its activation all the same.
    """
    low = seen.low.clamp(max=0) * HEADROOM
    high = seen.high.clamp(min=0) * HEADROOM
    span = high - low
    high = torch.maximum(high, low + _SMALLEST_RANGE * span.mean().clamp(min=1e-6))
    span = high - low
    largest = 2 ** (used or bits) - 1
    share = -low / span
    if bits == 7 or used is not None:
        zero = (share * largest).round()
    else:
        zero = ((share * largest - 64) / 128).round().clamp(0, 127) * 128 + 64
    above = high / (largest - zero).clamp(min=1)
    below = torch.where(zero > 0, -low / zero.clamp(min=1), torch.zeros_like(low))
    inverse = (1 / torch.maximum(above, below)).to(torch.float32)
    return Quantizer(inverse, zero.to(torch.int32), bits)


def step_of(quantizer: Quantizer, halves: int) -> tuple[Tensor, Tensor]:
    """The step in float64, and the zero, of what a layer reads of such activations."""
    step = 1 / quantizer.inverse_step.double()
    if quantizer.bits == 14 and halves == 1:
        return 128 * step, quantizer.zero >> 7
    return step, quantizer.zero
