"""Codecs that everybody has, as anchors of a rate-distortion plot: through Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ANCHORS", "Anchor", "code", "why_not"]


@dataclass(frozen=True)
class Anchor:
    """A codec and the settings at which it is measured.

    Attributes:
        title: Its name.
        format: Pillow's name of it.
        qualities: Pillow's `quality`, from small files to large ones.
        options: What else Pillow is given.
    """

    title: str
    format: str
    qualities: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


# Qualities from about 0.15 to 1.5 bits per pixel on photographs.
ANCHORS = {
    "jpeg": Anchor("JPEG", "JPEG", (8, 15, 25, 40, 60, 75, 85), {"optimize": True}),
    "jxl": Anchor("JPEG XL", "JXL", (15, 30, 45, 60, 72, 82, 90), {"effort": 7}),
    "webp": Anchor("WebP", "WEBP", (1, 10, 25, 45, 65, 80, 90), {"method": 6}),
    "avif": Anchor("AVIF", "AVIF", (20, 32, 44, 55, 66, 76, 85), {"speed": 6}),
}
"""By the names that ``--anchors`` takes, the best last."""


def why_not(name: str) -> str | None:
    """Why an anchor cannot be measured here, None if it can."""
    from PIL import Image, features

    if name == "jxl":
        if find_spec("pillow_jxl") is None:
            return "needs the package pillow-jxl-plugin"
        import pillow_jxl  # noqa: F401
    if name in ("webp", "avif") and not features.check(name):
        return f"this Pillow is built without {ANCHORS[name].title}"
    Image.init()
    if ANCHORS[name].format not in Image.SAVE:
        return "this Pillow cannot write it"
    return None


def code(name: str, quality: int, pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    """A picture's file, and what it decodes to.

    Args:
        name: Of an anchor that :func:`why_not` has nothing against.
        quality: One of its qualities.
        pixels: uint8 (H, W, 3).

    Raises:
        OSError, ValueError: Pillow does not code this picture.
    """
    import numpy as np
    from PIL import Image

    anchor = ANCHORS[name]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, anchor.format, quality=quality, **anchor.options)
    with Image.open(io.BytesIO(file.getvalue())) as image:
        return file.getvalue(), np.array(image.convert("RGB"))
