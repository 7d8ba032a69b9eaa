"""The picture that ``lic-fast demo`` draws: original, decoded and difference side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["AMPLIFICATION", "Captions", "amplified_difference", "compose"]

AMPLIFICATION = 8
"""Grey levels shown for one grey level of difference."""

_LARGEST = 1024
_SMALLEST = 360
_MARGIN = 28
_BACKGROUND = (250, 250, 248)
_INK = (28, 28, 30)
_MUTED = (92, 92, 98)
_TITLE_SIZE = 26
_BODY_SIZE = 19
_LEADING = 1.4


@dataclass(frozen=True)
class Captions:
    """The text below each panel: first line larger, the others muted.

    Pillow's built-in font draws it, which has ASCII and little more.
    """

    original: tuple[str, ...]
    decoded: tuple[str, ...]
    difference: tuple[str, ...]


def amplified_difference(original: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """``128 + 8 (decoded - original)``, clipped to 0..255.

    Args:
        original: uint8 (H, W, 3).
        decoded: uint8 (H, W, 3).

    Returns:
        uint8 (H, W, 3); mid grey where the two are equal.
    """
    difference = decoded.astype(np.int32) - original.astype(np.int32)
    return np.clip(128 + AMPLIFICATION * difference, 0, 255).astype(np.uint8)


def compose(original: np.ndarray, decoded: np.ndarray, captions: Captions) -> np.ndarray:
    """Draws the three panels and their captions.

    Pixels are shown one to one. Of a picture with a side above 1024 pixels the centre is
    shown, a narrow picture is enlarged by a whole factor, so that every panel shows real
    pixels and the text fits.

    Args:
        original: uint8 (H, W, 3).
        decoded: uint8 (H, W, 3), of the same shape.
        captions: The text below the panels.

    Returns:
        uint8 (H', W', 3).

    Raises:
        ValueError: The shapes differ.
    """
    if original.shape != decoded.shape:
        raise ValueError(f"original is {original.shape}, decoded is {decoded.shape}")
    difference = amplified_difference(original, decoded)
    panels = [_view(pixels) for pixels in (original, decoded, difference)]
    texts = (captions.original, captions.decoded, captions.difference)
    title, body = ImageFont.load_default(_TITLE_SIZE), ImageFont.load_default(_BODY_SIZE)
    height, width = panels[0].shape[:2]
    column = max(
        width,
        *(
            round((title if i == 0 else body).getlength(line))
            for text in texts
            for i, line in enumerate(text)
        ),
    )
    lines = max(len(text) for text in texts)
    text_height = round(_LEADING * (_TITLE_SIZE + (lines - 1) * _BODY_SIZE))
    size = (
        len(panels) * (column + _MARGIN) + _MARGIN,
        height + text_height + round(2.5 * _MARGIN),
    )
    canvas = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for i, (panel, text) in enumerate(zip(panels, texts, strict=True)):
        left = _MARGIN + i * (column + _MARGIN)
        canvas.paste(Image.fromarray(panel), (left, _MARGIN))
        top = float(_MARGIN + height + _MARGIN // 2)
        for j, line in enumerate(text):
            font, ink = (title, _INK) if j == 0 else (body, _MUTED)
            draw.text((left, top), line, font=font, fill=ink)
            top += _LEADING * (_TITLE_SIZE if j == 0 else _BODY_SIZE)
    return np.asarray(canvas)


def is_cropped(height: int, width: int) -> bool:
    """Whether :func:`compose` shows only the centre of a picture of this size."""
    return max(height, width) > _LARGEST


def _view(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    shown_height, shown_width = min(height, _LARGEST), min(width, _LARGEST)
    top, left = (height - shown_height) // 2, (width - shown_width) // 2
    shown = pixels[top : top + shown_height, left : left + shown_width]
    # Enlarged while it is narrow, but never to more than the largest panel.
    factor = max(1, min(_SMALLEST // shown_width, _LARGEST // shown_height))
    return shown.repeat(factor, axis=0).repeat(factor, axis=1)
