"""A picture in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Picture"]


@dataclass(frozen=True)
class Picture:
    """An 8-bit RGB picture.

    Attributes:
        pixels: uint8 (H, W, 3).
        icc_profile: Its colour profile, or None for sRGB by convention.
        exif: EXIF data without the ``Exif`` prefix, or None.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
