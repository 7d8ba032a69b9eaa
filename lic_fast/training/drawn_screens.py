"""Drawn plots and screens, as crops of a training run; see ``drawn.py``."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from lic_fast.training.drawn_shapes import (
    Box,
    Colour,
    colour,
    contrasting,
    font,
    readable,
    sketch,
    words,
    write,
)

__all__ = ["plots", "screens"]


def plots(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """A chart: axes, grid, labels, and curves, bars, points or a pie."""

    def paint(pen: ImageDraw.ImageDraw, extent: int, ground: Colour) -> None:
        margin = int(generator.integers(-extent // 8, extent // 8))
        end = max(extent, 96) - margin
        _chart(pen, generator, (margin, margin, end, end), ground)

    return sketch(generator, side, (1, 1, 1.5, 2), paint)


def _chart(
    pen: ImageDraw.ImageDraw, generator: np.random.Generator, box: Box, ground: Colour
) -> None:
    left, top, right, bottom = box
    if right - left < 64 or bottom - top < 48:
        return
    ink = contrasting(generator, ground)
    size = int(generator.integers(7, 13))
    if generator.random() < 0.15:
        angles = np.sort(generator.uniform(0, 360, size=int(generator.integers(2, 8)))).tolist()
        for start, end in zip(angles, [*angles[1:], angles[0] + 360], strict=True):
            pen.pieslice(box, start, end, colour(generator), ink)
        return
    left, bottom = left + 3 * size, bottom - 2 * size
    count = int(generator.integers(3, 12))
    faint = tuple((a + 3 * b) // 4 for a, b in zip(ink, ground, strict=True))
    for i in range(count + 1):
        x = left + (right - left) * i // count
        y = top + (bottom - top) * i // count
        if generator.random() < 0.8:
            pen.line((x, top, x, bottom), faint)
            pen.line((left, y, right, y), faint)
        label = f"{generator.uniform(0, 100):.{int(generator.integers(3))}f}"
        pen.text((x, bottom + 2), label[:4], ink, font(size))
        pen.text((left - 3 * size, y - size // 2), label[:5], ink, font(size))
    pen.rectangle((left, top, right, bottom), None, ink)
    for _ in range(int(generator.integers(1, 5))):
        tint = contrasting(generator, ground)
        steps = int(generator.integers(4, 40))
        walk = np.cumsum(generator.normal(size=steps))
        low, high = float(walk.min()), float(walk.max())
        heights = bottom - (walk - low) / max(high - low, 1e-3) * (bottom - top) * 0.9
        xs = np.linspace(left, right, steps)
        points = [(int(x), int(y)) for x, y in zip(xs, heights, strict=True)]
        way = generator.random()
        if way < 0.6:
            pen.line(points, tint, int(generator.integers(1, 4)))
        elif way < 0.8:
            pitch = (right - left) / steps
            for x, y in points:
                pen.rectangle((x, min(y, bottom), x + int(pitch * 0.7), bottom), tint)
        else:
            radius = int(generator.integers(1, 4))
            for x, y in points:
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), tint)


def screens(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """A part of a made-up screen: bars, buttons, text, tables, icons and charts on flat ground."""

    def paint(pen: ImageDraw.ImageDraw, extent: int, ground: Colour) -> None:
        accent = colour(generator)
        light = generator.random() < 0.6
        shade = generator.integers(225, 256) if light else generator.integers(0, 60)
        ground = (int(shade),) * 3 if generator.random() < 0.8 else ground
        pen.rectangle((0, 0, extent, extent), ground)
        left, top = (-int(value) for value in generator.integers(extent // 2, size=2))
        _panel(pen, generator, (left, top, extent + 16, extent + 16), ground, accent, 3)

    return sketch(generator, side, (1, 1, 1, 1, 1, 1.25, 1.5), paint)


def _panel(
    pen: ImageDraw.ImageDraw,
    generator: np.random.Generator,
    box: Box,
    ground: Colour,
    accent: Colour,
    depth: int,
) -> None:
    """A box of a screen: divided into two, or filled with a title bar and one thing."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    if right <= 0 or bottom <= 0 or width < 12 or height < 12:
        return
    if depth and max(width, height) > 64 and generator.random() < 0.9:
        share = generator.uniform(0.25, 0.75)
        if width > height:
            middle = left + int(width * share)
            halves = ((left, top, middle, bottom), (middle, top, right, bottom))
        else:
            middle = top + int(height * share)
            halves = ((left, top, right, middle), (left, middle, right, bottom))
        for half in halves:
            _panel(pen, generator, half, ground, accent, depth - 1)
        return
    if generator.random() < 0.3:
        tint = int(generator.integers(-24, 25))
        red, green, blue = (min(max(value + tint, 0), 255) for value in ground)
        ground = (red, green, blue)
    ink = contrasting(generator, ground) if generator.random() < 0.2 else readable(ground)
    faint = tuple((a + 3 * b) // 4 for a, b in zip(ink, ground, strict=True))
    pen.rectangle((left, top, right - 1, bottom - 1), ground, faint if depth % 2 else None)
    size = int(generator.integers(9, 15))
    if generator.random() < 0.5:
        bar = accent if generator.random() < 0.6 else colour(generator)
        pen.rectangle((left, top, right - 1, top + size + 8), bar)
        pen.text((left + 6, top + 4), words(generator, 16), readable(bar), font(size))
        top += size + 10
    inner = (left + 6, top + 4, right - 4, bottom - 2)
    way = generator.random()
    if way < 0.35:
        write(pen, generator, inner, size, ink)
    elif way < 0.55:
        _table(pen, generator, inner, size, ink, faint)
    elif way < 0.75:
        _buttons(pen, generator, inner, size, ink, accent)
    elif way < 0.9:
        _icons(pen, generator, inner, ink)
    else:
        _chart(pen, generator, inner, ground)


def _table(
    pen: ImageDraw.ImageDraw,
    generator: np.random.Generator,
    box: Box,
    size: int,
    ink: Colour,
    faint: tuple[int, ...],
) -> None:
    left, top, right, bottom = box
    pitch, column = size + int(generator.integers(4, 12)), int(generator.integers(30, 90))
    for row, y in enumerate(range(top, bottom - pitch, pitch)):
        if row % 2:
            pen.rectangle((left, y, right, y + pitch - 1), faint)
        for x in range(left, right - column, column):
            cell = f"{generator.uniform(0, 10 ** int(generator.integers(1, 6))):.2f}"
            pen.text((x + 3, y + 2), cell, ink, font(size))
            if not row:
                pen.line((x, top, x, bottom), faint)


def _buttons(
    pen: ImageDraw.ImageDraw,
    generator: np.random.Generator,
    box: Box,
    size: int,
    ink: Colour,
    accent: Colour,
) -> None:
    left, top, right, bottom = box
    y = top
    while y + size + 8 < bottom:
        width = int(generator.integers(24, 100))
        place = (left, y, min(left + width, right), y + size + 8)
        if place[2] <= place[0]:
            return
        fill = accent if generator.random() < 0.4 else None
        radius = int(generator.integers(0, size // 2 + 2))
        pen.rounded_rectangle(place, radius, fill, ink)
        word = words(generator, max(width // size, 1))
        pen.text((left + 5, y + 3), word, readable(accent) if fill else ink, font(size))
        # A box to tick.
        if place[2] + size + 8 < right:
            x = place[2] + 6
            pen.rectangle((x, y + 4, x + size, y + 4 + size), None, ink)
            if generator.random() < 0.5:
                pen.line((x + 2, y + 8, x + size // 2, y + size, x + size, y + 4), ink, 2)
        y += size + int(generator.integers(12, 28))


def _icons(pen: ImageDraw.ImageDraw, generator: np.random.Generator, box: Box, ink: Colour) -> None:
    """Rows of small signs, each a symmetrical pattern of squares or a disc with a letter."""
    left, top, right, bottom = box
    cell = int(generator.integers(2, 5))
    pitch = 7 * cell + int(generator.integers(4, 20))
    for y in range(top, bottom - 7 * cell, pitch):
        for x in range(left, right - 7 * cell, pitch):
            tint = colour(generator) if generator.random() < 0.7 else ink
            if generator.random() < 0.4:
                pen.ellipse((x, y, x + 7 * cell, y + 7 * cell), tint)
                pen.text(
                    (x + 2 * cell, y + cell),
                    words(generator, 1),
                    readable(tint),
                    font(4 * cell + 2),
                )
                continue
            half = generator.integers(2, size=(7, 4))
            for row, column in np.argwhere(np.hstack([half, half[:, 2::-1]])).tolist():
                corner = x + column * cell, y + row * cell
                pen.rectangle((*corner, corner[0] + cell - 1, corner[1] + cell - 1), tint)
