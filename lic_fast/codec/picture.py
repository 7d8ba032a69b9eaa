"""A picture in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lic_fast.errors import ImageError

__all__ = ["Picture", "check_pixels", "rgb_pixels"]


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


def check_pixels(pixels: object) -> None:
    """Lets through what a :class:`Picture` may hold.

    Raises:
        ImageError: It is no uint8 array (H, W, 3) of at least one pixel.
    """
    if not isinstance(pixels, np.ndarray):
        raise ImageError(
            f"a picture is a numpy array, uint8 (H, W, 3), not {type(pixels).__name__}"
        )
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError(
            f"a picture is uint8 (H, W, 3) of at least one pixel, not {pixels.dtype} "
            f"{tuple(pixels.shape)}"
        )


def rgb_pixels(pixels: np.ndarray) -> np.ndarray:
    """A picture's array as uint8 (H, W, 3), a grey one, (H, W) or (H, W, 1), with equal channels.

    Raises:
        ImageError: It is no such array.
    """
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8:
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, 2)
    check_pixels(pixels)
    return pixels
