"""Gains: by what latents are multiplied before they are rounded, for qualities from 1 to 100.

Gains are trained at a few anchors, whose qualities are evenly spread, and interpolated
exponentially between them (Cui et al., "Asymmetric Gained Deep Image Compression With Continuous
Rate Adaptation", CVPR 2021, equations 2 to 6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "BEST",
    "DEFAULT",
    "LEAST_GAIN",
    "NO_GAINS",
    "NO_QUALITY",
    "WORST",
    "anchor_qualities",
    "check_quality",
    "interpolated",
    "places",
]

WORST, DEFAULT, BEST = 1.0, 50.0, 100.0
"""Qualities: the first anchor's, that which models take if none is given, the last anchor's."""

LEAST_GAIN = 1e-4
"""A gain has no logarithm at 0. Trained ones are between 0.1 and 10."""

NO_GAINS = (
    "this model has no gains: it codes at the one rate that it was trained for, and takes no "
    "quality"
)
NO_QUALITY = (
    "this model codes at many rates: strings are decoded with the quality that they were coded "
    "with, which compress gives beside them"
)


def anchor_qualities(anchors: int) -> list[float]:
    """The quality of each anchor, evenly from :data:`WORST` to :data:`BEST`."""
    return [WORST + (BEST - WORST) * i / (anchors - 1) for i in range(anchors)]


def check_quality(quality: Any, images: int) -> list[float]:
    """The quality of each image.

    Args:
        quality: One number or one for each image, in a sequence or what has ``tolist``.
        images: In the batch.

    Raises:
        ValueError: It is no such number, or there are more or fewer of them than images.
    """
    given: Any = quality.tolist() if hasattr(quality, "tolist") else quality
    several = isinstance(given, Sequence) and not isinstance(given, str)
    values = list(given) if several else [given]
    for value in values:
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not WORST <= value <= BEST:
            raise ValueError(f"a quality is a number from {WORST:g} to {BEST:g}, not {value!r}")
    if several and len(values) != images:
        raise ValueError(f"{len(values)} qualities for a batch of {images}")
    return [float(value) for value in (values if several else values * images)]


def places(quality: Sequence[float], anchors: int) -> tuple[list[int], list[float]]:
    """For each quality the anchor at or below it, and the part of the way to the next one."""
    lower, parts = [], []
    for value in quality:
        position = (value - WORST) / (BEST - WORST) * (anchors - 1)
        lower.append(min(math.floor(position), anchors - 2))
        parts.append(position - lower[-1])
    return lower, parts


def interpolated(gains: npt.NDArray[np.float32], quality: Sequence[float]) -> Any:
    """The gains of each image, (B, M) float32.

    Args:
        gains: (anchors, M), those of the anchors.
        quality: Of each image.
    """
    lower, parts = places(quality, len(gains))
    logarithms = np.log(np.maximum(gains, LEAST_GAIN), dtype=np.float64)
    index, part = np.array(lower), np.array(parts)[:, None]
    between = logarithms[index] + part * (logarithms[index + 1] - logarithms[index])
    return np.exp(between).astype(np.float32)
