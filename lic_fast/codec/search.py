"""The search for the quality that makes a file of a wanted size or PSNR."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lic_fast.codec.container import QUALITIES
from lic_fast.codec.target import Encoded, Target
from lic_fast.errors import TargetError

__all__ = ["encoded_for", "highest_within"]

_FIRST = 5000  # hundredths of a quality
_STEP = 10  # likewise
_SIZE_TOLERANCE, _PSNR_TOLERANCE = 0.01, 0.02  # of the size, in dB
# What a hundredth of a quality is worth, for the second coding: of the size's logarithm, and in dB.
_SIZE_SLOPE, _PSNR_SLOPE = 2.5e-4, 1.2e-3


def encoded_for(target: Target, pixels: int, code: Callable[[float], Encoded]) -> Encoded:
    """The file of a picture that keeps to a target's bound and is nearest to it.

    Args:
        target: Of a size, a rate or a PSNR.
        pixels: Of the picture.
        code: The file of a quality, with its PSNR if that is the target.

    Raises:
        TargetError: No quality keeps to the bound.
    """
    tried: dict[int, Encoded] = {}
    largest = target.largest_file(pixels)
    worst, best = QUALITIES[0], QUALITIES[-1]

    # The best quality of all that are small enough, or the worst of all that are faithful enough.
    def at(position: int) -> int:
        return best - position if largest is None else worst + position

    def measure(position: int) -> float:
        encoded = tried[at(position)] = code(at(position) / 100)
        if largest is not None:
            return math.log(len(encoded.data))
        assert encoded.psnr is not None
        return -encoded.psnr

    if largest is None:
        assert target.psnr is not None
        limit, slope, tolerance = -target.psnr, _PSNR_SLOPE, _PSNR_TOLERANCE
    else:
        limit = math.log(largest) if largest else -math.inf
        slope, tolerance = _SIZE_SLOPE, _SIZE_TOLERANCE
    found = highest_within(
        measure,
        limit,
        last=best - worst,
        start=abs(_FIRST - at(0)),
        slope=slope,
        tolerance=tolerance,
        step=_STEP,
    )
    if found is None:
        raise TargetError(_unreachable(target, pixels, tried[at(0)]))
    return replace(tried[at(found)], codings=len(tried))


def _unreachable(target: Target, pixels: int, extreme: Encoded) -> str:
    if target.psnr is not None:
        return (
            f"{target.psnr:g} dB are more than this model gives for this picture, "
            f"which is {extreme.psnr:.2f} dB at quality 100"
        )
    size = len(extreme.data)
    wanted = f"{target.size} bytes" if target.bpp is None else f"{target.bpp:g} bpp"
    return (
        f"{wanted} are less than this model takes for this picture, which is {size} bytes or "
        f"{8 * size / pixels:.4f} bpp at quality 1"
    )


def highest_within(
    measure: Callable[[int], float],
    limit: float,
    *,
    last: int,
    start: int,
    slope: float,
    tolerance: float,
    step: int,
) -> int | None:
    """The highest position whose value is within a limit, by few measurements.

    Each position is where a line meets the middle of the tolerance: the line through the highest
    position within the limit and the lowest beyond it, or through the one of them that is known.
    Where three of those have not halved the interval, its middle is next. Values need not rise
    everywhere: the position that comes back was measured and is within the limit. A
    higher one may be too then.

    Args:
        measure: A position's value; called once for each.
        limit: The largest value allowed.
        last: Positions are 0 to `last`.
        start: The first to measure.
        slope: By how much values rise from one position to the next, roughly.
        tolerance: A value so much below the limit is near enough.
        step: Positions so near each other need none between them.

    Returns:
        None if the value at 0, and all others that were measured, are beyond the limit.
    """
    measured: dict[int, float] = {}
    low, high = -1, last + 1  # the highest within the limit, the lowest beyond it
    widths = [4 * last] * 3
    position = start
    while True:
        value = measured[position] = measure(position)
        if value > limit:
            high = position
        elif value >= limit - tolerance:
            return position
        else:
            low = position
        # An end that was not measured may be the answer, however near it is.
        if high == 0:
            return None
        if low == last or (low >= 0 and high <= last and high - low <= step):
            return low
        wanted = limit - tolerance / 2
        ends = [end for end in (low, high) if end in measured]
        base = min(ends, key=lambda end: abs(measured[end] - wanted))
        aim = base + (wanted - measured[base]) / _slope(measured, base, ends, step, slope)
        if math.isnan(aim) or high - low > widths[-3] / 2:
            aim = (low + high) / 2
        widths.append(high - low)
        apart = max(1, step // 2)
        nearest = low + apart if low >= 0 else 0
        farthest = high - apart if high <= last else last
        position = min(round(max(min(aim, farthest), nearest)), last)


def _slope(
    measured: Mapping[int, float], base: int, ends: Sequence[int], step: int, typical: float
) -> float:
    """To the other end, or else to a position not too near; the typical one if neither rises."""
    # Over a short way values may fall, though they rise over a long one.
    far = [position for position in measured if abs(position - base) >= 10 * step]
    near = sorted(far, key=lambda position: abs(position - base))[:1]
    for other in (*(end for end in ends if end != base), *near):
        slope = (measured[other] - measured[base]) / (other - base)
        if 0 < slope < math.inf:
            return slope
    return typical
