"""Rate-distortion curves: means over pictures, and rates at equal quality."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

__all__ = ["Curve", "Point", "bd_rate", "psnr_at", "rate_at", "saving"]

# A cubic through fewer says nothing about its course between them (Bjontegaard, VCEG-M33, 2001).
FEWEST_FOR_BD_RATE = 4


@dataclass(frozen=True)
class Point:
    """Means over the same pictures.

    Attributes:
        label: A model or a quality.
        bpp: Bits per pixel.
        psnr_db: In dB.
        ms_ssim: NaN where there is none.
    """

    label: str
    bpp: float
    psnr_db: float
    ms_ssim: float = math.nan


@dataclass(frozen=True)
class Curve:
    """Points of a codec, by rising rate.

    Attributes:
        name: Of the codec.
        points: At least one.
        kind: "model", "anchor" or "reference".
        source: Where a reference's numbers are from, else empty.
    """

    name: str
    points: Sequence[Point]
    kind: str
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", sorted(self.points, key=lambda point: point.bpp))


def rate_at(curve: Curve, psnr_db: float) -> float:
    """The rate at which a curve has this PSNR, log-linear between its points; NaN beyond them."""
    points = [p for p in curve.points if math.isfinite(p.psnr_db) and p.bpp > 0]
    for low, high in itertools.pairwise(points):
        if low.psnr_db <= psnr_db <= high.psnr_db and low.psnr_db < high.psnr_db:
            part = (psnr_db - low.psnr_db) / (high.psnr_db - low.psnr_db)
            return math.exp((1 - part) * math.log(low.bpp) + part * math.log(high.bpp))
    return math.nan


def psnr_at(curve: Curve, bpp: float) -> float:
    """The PSNR that a curve has at this rate, linear in the rate's logarithm; NaN beyond it."""
    points = [p for p in curve.points if math.isfinite(p.psnr_db) and p.bpp > 0]
    for low, high in itertools.pairwise(points):
        if low.bpp <= bpp <= high.bpp and low.bpp < high.bpp:
            part = math.log(bpp / low.bpp) / math.log(high.bpp / low.bpp)
            return (1 - part) * low.psnr_db + part * high.psnr_db
    return math.nan


def saving(point: Point, anchor: Curve) -> float:
    """How much more rate a point takes than the anchor of equal PSNR: -0.2 is a fifth less."""
    return point.bpp / rate_at(anchor, point.psnr_db) - 1


def bd_rate(curve: Curve, anchor: Curve) -> float | None:
    """Bjontegaard's mean difference of rates at equal PSNR: -0.2 is a fifth less than the anchor.

    None with fewer than four points, without the package ``bjontegaard``, or where the curves
    have no PSNR in common.
    """
    if find_spec("bjontegaard") is None:
        return None
    sides = []
    for side in (anchor, curve):
        points = [p for p in side.points if math.isfinite(p.psnr_db)]
        rising = all(a.psnr_db < b.psnr_db for a, b in itertools.pairwise(points))
        if len(points) < FEWEST_FOR_BD_RATE or not rising:
            return None
        sides += [[p.bpp for p in points], [p.psnr_db for p in points]]
    if min(sides[1][-1], sides[3][-1]) <= max(sides[1][0], sides[3][0]):
        return None
    import bjontegaard

    percent = bjontegaard.bd_rate(
        *sides, method="akima", min_overlap=0, require_matching_points=False
    )
    return float(percent) / 100
