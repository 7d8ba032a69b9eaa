"""Drawn text and lines, as crops of a training run (see ``drawn.py``), and what draws them.

Pillow's own font is the only one, so that a picture does not depend on what a machine has
installed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "Box",
    "Colour",
    "colour",
    "contrasting",
    "font",
    "lines",
    "pick",
    "readable",
    "sketch",
    "text",
    "words",
    "write",
]

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom; may reach out of the picture."""
Item = TypeVar("Item")

# About as often as in English, with some capitals, figures and punctuation. The font has no
# accents.
_LETTERS = (
    "eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllccc"
    "uuummmwwffggyyppbbvkjxqzEASTIMCRPNDLOBWFGHUVYKXJQZ0123456789.,,.:;!?-()/%&'\""
    "                          "
)
_FILTERS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


def pick(generator: np.random.Generator, items: tuple[Item, ...]) -> Item:
    """One of the items, each as likely."""
    return items[int(generator.integers(len(items)))]


def colour(generator: np.random.Generator) -> Colour:
    """A colour: often black or white or a corner of the RGB cube, or saturated, or grey."""
    way = generator.random()
    if way < 0.2:
        return pick(generator, ((0, 0, 0), (255, 255, 255)))
    red, green, blue = (int(value) for value in generator.integers(256, size=3))
    if way < 0.4:
        return 255 * (red > 127), 255 * (green > 127), 255 * (blue > 127)
    if way < 0.55:
        return red, red, red
    if way < 0.75:
        # The channels of a saturated colour: one full, one empty, one in between.
        order = generator.permutation(3)
        values = [int(v) for v in np.array([255, green, 0])[order]]
        return values[0], values[1], values[2]
    return red, green, blue


def _paper(generator: np.random.Generator) -> Colour:
    """A colour to write on: white or black more often than not."""
    way = generator.random()
    return (255, 255, 255) if way < 0.4 else (0, 0, 0) if way < 0.5 else colour(generator)


def contrasting(generator: np.random.Generator, ground: Colour) -> Colour:
    """A colour that can be seen on `ground`."""
    for _ in range(8):
        found = colour(generator)
        if max(abs(a - b) for a, b in zip(found, ground, strict=True)) > 60:
            return found
    return readable(ground)


def readable(ground: Colour) -> Colour:
    """Black or white."""
    return (0, 0, 0) if sum(ground) > 382 else (255, 255, 255)


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, of a size in pixels."""
    return ImageFont.load_default(size)


def _size(generator: np.random.Generator, least: float, most: float) -> int:
    """A whole number whose logarithm is uniform; `least` if that is not less than `most`."""
    return round(float(np.exp(generator.uniform(np.log(least), np.log(max(least, most))))))


def words(generator: np.random.Generator, length: int) -> str:
    """Made-up words, `length` letters and spaces in all."""
    found = "".join(_LETTERS[i] for i in generator.integers(len(_LETTERS), size=length))
    way = generator.random()
    return found.upper() if way < 0.1 else found.title() if way < 0.25 else found


def write(
    pen: ImageDraw.ImageDraw, generator: np.random.Generator, box: Box, size: int, ink: Colour
) -> None:
    """Lines of text that fill a box from its top."""
    left, top, right, bottom = box
    pitch = round(size * generator.uniform(1.05, 1.6))
    fitting = max(int((right - left) / (0.55 * size)), 1)
    bold = 1 if size > 18 and generator.random() < 0.25 else 0
    ragged = generator.uniform(0.5, 1)
    for y in range(top, bottom - size + 1, max(pitch, 1)):
        length = max(round(fitting * generator.uniform(ragged, 1)), 1)
        if y + size >= 0 and y < pen.im.size[1]:
            pen.text((left, y), words(generator, length), ink, font(size), stroke_width=bold)


def sketch(
    generator: np.random.Generator,
    side: int,
    scales: tuple[float, ...],
    paint: Callable[[ImageDraw.ImageDraw, int, Colour], None],
) -> np.ndarray:
    """A picture painted at `side` times one of the scales, and brought to `side` by a filter."""
    ground = _paper(generator)
    extent = round(side * pick(generator, scales))
    image = Image.new("RGB", (extent, extent), ground)
    pen = ImageDraw.Draw(image)
    pen.fontmode = "1" if generator.random() < 0.2 else "L"
    paint(pen, extent, ground)
    if generator.random() < 0.1:
        angle = float(generator.normal() * 3)
        image = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=ground)
    if extent != side:
        image = image.resize((side, side), pick(generator, _FILTERS))
    return np.asarray(image)


def text(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """Blocks of text in one to three sizes and colours."""

    def paint(pen: ImageDraw.ImageDraw, extent: int, ground: Colour) -> None:
        left = int(generator.integers(-extent // 4, extent // 4))
        cuts = np.sort(generator.integers(0, extent, size=int(generator.integers(3))))
        top = -int(generator.integers(8))
        ink = readable(ground) if generator.random() < 0.4 else contrasting(generator, ground)
        for cut in [*(int(cut) for cut in cuts), extent + 32]:
            size = _size(generator, 7, extent / 3)
            if generator.random() < 0.3:
                ground = colour(generator)
                pen.rectangle((0, top, extent, cut), ground)
                ink = contrasting(generator, ground)
            elif generator.random() < 0.3:
                ink = contrasting(generator, ground)
            write(pen, generator, (left, top, extent + 8, cut), size, ink)
            top = cut

    return sketch(generator, side, (1, 1, 1, 1, 1.5, 2, 0.75), paint)


def lines(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """Lines, polygons, ellipses, grids and hatching, with and without antialiasing."""

    def paint(pen: ImageDraw.ImageDraw, extent: int, ground: Colour) -> None:
        unit = max(extent // side, 1)
        thin = generator.random() < 0.4
        ink = contrasting(generator, ground)
        one_ink = generator.random() < 0.4
        for _ in range(_size(generator, 1, 24)):
            ink = ink if one_ink else colour(generator)
            width = unit if thin else _size(generator, unit, extent / 16)
            points = generator.integers(-extent // 8, extent + extent // 8, size=(8, 2))
            (x0, x1), (y0, y1) = np.sort(points[:2], axis=0).T.tolist()
            corners = [(int(x), int(y)) for x, y in points[: 2 + int(generator.integers(5))]]
            fill = ink if generator.random() < 0.3 else None
            way = int(generator.integers(7))
            if way < 2:
                pen.line(corners, ink, width, joint="curve" if way else None)
            elif way == 2:
                pen.polygon(corners, fill, ink, width)
            elif way == 3:
                pen.ellipse((x0, y0, x1, y1), fill, ink, width)
            elif way == 4:
                pen.rounded_rectangle((x0, y0, x1, y1), (x1 - x0) // 8, fill, ink, width)
            elif way == 5:
                start, end = generator.uniform(0, 360, size=2)
                pen.arc((x0, y0, x1, y1), float(start), float(end), ink, width)
            else:
                _hatch(pen, generator, (x0, y0, x1, y1), unit, ink)

    return sketch(generator, side, (1, 1, 2, 3), paint)


def _hatch(
    pen: ImageDraw.ImageDraw, generator: np.random.Generator, box: Box, unit: int, ink: Colour
) -> None:
    """Parallel lines, upright, level or slanted, once or crossed."""
    left, top, right, bottom = box
    pitch = unit * int(generator.integers(2, 17))
    slant = int(generator.integers(-2, 3)) * (bottom - top) // 2
    crossed = generator.random() < 0.5
    if crossed or generator.random() < 0.5:
        for x in range(left, right + 1, pitch):
            pen.line((x, top, x + slant, bottom), ink, unit)
    else:
        crossed = True
    if crossed:
        for y in range(top, bottom + 1, pitch):
            pen.line((left, y, right, y + slant // 2), ink, unit)
