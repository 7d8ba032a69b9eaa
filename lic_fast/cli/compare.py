"""A model beside other codecs: their curves over the same pictures, and the worst pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lic_fast.cli.anchors import ANCHORS, code
from lic_fast.cli.curves import Curve, Point, psnr_at
from lic_fast.cli.page import Closeup
from lic_fast.cli.report import Row

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AnchorCurves", "closeups", "worst"]

_SIDE = 224  # of a closeup, in pixels


@dataclass
class AnchorCurves:
    """Measures anchors, picture by picture.

    Attributes:
        names: Of the anchors.
        of_picture: By picture, a curve for each anchor.
    """

    names: Sequence[str]
    of_picture: dict[str, dict[str, Curve]] = field(default_factory=dict)

    def measure(self, picture: str, pixels: np.ndarray) -> None:
        """Codes a picture at every quality of every anchor."""
        from lic_fast.codec import metrics

        def point(name: str, quality: int) -> Point:
            data, decoded = code(name, quality, pixels)
            return Point(
                str(quality),
                8 * len(data) / pixels[..., 0].size,
                float(metrics.psnr(pixels, decoded)),
                float(metrics.ms_ssim(pixels, decoded)),
            )

        found = self.of_picture.setdefault(picture, {})
        for name in self.names:
            # A picture that another codec does not take is not for a report to fail on.
            with suppress(OSError, ValueError):
                points = [point(name, quality) for quality in ANCHORS[name].qualities]
                found[name] = Curve(ANCHORS[name].title, points, "anchor")

    def last(self, picture: str) -> tuple[str, Curve] | None:
        """The last anchor that took a picture, and its curve."""
        found = self.of_picture.get(picture, {})
        return next(((name, found[name]) for name in reversed(self.names) if name in found), None)

    def curves(self) -> list[Curve]:
        """Means over the pictures at equal quality setting, a curve for each anchor."""
        result = []
        for name in self.names:
            points = []
            if not any(name in curves for curves in self.of_picture.values()):
                continue
            for quality in map(str, ANCHORS[name].qualities):
                same = [
                    point
                    for curves in self.of_picture.values()
                    if name in curves
                    for point in curves[name].points
                    if point.label == quality
                ]
                points.append(
                    Point(quality, *(_mean([getattr(p, key) for p in same]) for key in _KEYS))
                )
            result.append(Curve(ANCHORS[name].title, points, "anchor"))
        return result


_KEYS = ("bpp", "psnr_db", "ms_ssim")


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def worst(rows: Sequence[Row], anchors: AnchorCurves, count: int = 5) -> list[tuple[Row, str]]:
    """The pictures that a model codes worst, and in words how.

    By PSNR beside that of the last anchor at the same rate on the same picture; without an anchor
    by PSNR.
    """
    ranked = []
    for row in rows:
        found = anchors.last(row.file)
        deficit = math.nan if found is None else psnr_at(found[1], row.bpp) - row.psnr_db
        ranked.append((deficit, row, "" if found is None else found[1].name))
    if all(math.isnan(deficit) for deficit, _, _ in ranked):
        lowest = sorted((row for row in rows if math.isfinite(row.psnr_db)), key=_psnr)
        return [(row, f"{row.psnr_db:.2f} dB at {row.bpp:.3f} bpp") for row in lowest[:count]]
    known = [(d, row, title) for d, row, title in ranked if not math.isnan(d)]
    known.sort(key=lambda entry: -entry[0])
    return [
        (row, f"{abs(d):.2f} dB {'below' if d > 0 else 'above'} {title} at {row.bpp:.3f} bpp")
        for d, row, title in known[:count]
    ]


def _psnr(row: Row) -> float:
    return row.psnr_db


def closeups(
    chosen: Sequence[tuple[Row, str]],
    anchors: AnchorCurves,
    read: Callable[[str], np.ndarray],
    decode: Callable[[np.ndarray], np.ndarray],
    name: str,
) -> list[Closeup]:
    """Where the pictures' errors are largest: original, model, the last anchor at the nearest rate.

    Args:
        chosen: By :func:`worst`.
        anchors: Those that were measured.
        read: Gives a picture's pixels.
        decode: What the model makes of pixels.
        name: The model's.
    """
    result = []
    for row, words in chosen:
        original = read(row.file)
        decoded = decode(original)
        part = _where(original, decoded)
        parts = [("original", original[part]), (f"{name}, {row.bpp:.3f} bpp", decoded[part])]
        found = anchors.last(row.file)
        if found is not None:
            last, curve = found
            nearest = min(curve.points, key=lambda point: abs(math.log(point.bpp / row.bpp)))
            _, other = code(last, int(nearest.label), original)
            parts.append((f"{curve.name}, {nearest.bpp:.3f} bpp", other[part]))
        result.append(Closeup(f"{row.file}: {words}", parts))
    return result


def _where(original: np.ndarray, decoded: np.ndarray) -> tuple[slice, slice]:
    """The square of the largest squared error."""
    import numpy as np

    error = np.square(original.astype(np.float64) - decoded).sum(2)
    sums = np.pad(error, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    height, width = (min(_SIDE, side) for side in error.shape)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]
    inside += sums[:-height, :-width]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)
