"""Drawn pictures: what people have besides photographs, as crops of a training run.

``[data] drawn`` of a recipe is their share. Each is a function of a random generator alone, or
of that and a photograph. ``drawn_shapes.py`` and ``drawn_screens.py`` have the kinds that
Pillow's pen draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from PIL import Image

from lic_fast.training.drawn_screens import plots, screens
from lic_fast.training.drawn_shapes import (
    Colour,
    colour,
    contrasting,
    lines,
    pick,
    text,
)

__all__ = ["KINDS", "draw"]

Kind = Callable[[np.random.Generator, int, "np.ndarray | None"], np.ndarray]


def draw(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """A drawn picture, uint8 (side, side, 3), of a random kind: those of screens more often.

    Args:
        generator: What it depends on.
        side: In pixels, at least 16.
        photograph: uint8 (side, side, 3), which some kinds dither, reduce to few colours, add
            noise to or write on; without one they take a gradient or clouds. Not changed.
    """
    return KINDS[pick(generator, _CHANCES)](generator, side, photograph)


def fields(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """Flat fields with sharp edges: a grid of up to four by four, and up to eight rectangles."""
    picture = np.empty((side, side, 3), np.uint8)
    cuts = generator.integers(1, side, size=(2, 3))
    rows, columns = (np.unique([0, *cut[: int(generator.integers(4))], side]) for cut in cuts)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            picture[top:bottom, left:right] = colour(generator)
    for _ in range(int(generator.integers(9)) if generator.random() < 0.5 else 0):
        (top, bottom), (left, right) = np.sort(generator.integers(side, size=(2, 2)), axis=1)
        picture[top : bottom + 1, left : right + 1] = colour(generator)
    return picture


def gradients(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """Smooth changes between two to five colours: linear, radial, turning, or in patches."""
    if generator.random() < 0.3:
        count = int(generator.integers(2, 6))
        small = np.array([[colour(generator) for _ in range(count)] for _ in range(count)])
        return _resized(small.astype(np.uint8), side)
    x, y = np.meshgrid(*2 * [np.arange(side, dtype=np.float32) / side])
    centre_x, centre_y = generator.uniform(-0.25, 1.25, size=2).astype(np.float32)
    angle = generator.uniform(0, 2 * np.pi)
    way = generator.random()
    if way < 0.6:
        place = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    elif way < 0.9:
        place = np.hypot(x - centre_x, y - centre_y)
    else:
        place = np.arctan2(y - centre_y, x - centre_x)
    place -= place.min()
    place *= np.float32(generator.uniform(0.3, 1.2) / max(float(place.max()), 1e-6))
    stops = np.array([colour(generator) for _ in range(int(generator.integers(2, 6)))])
    at = np.linspace(0, 1, 1024)
    table = np.stack([np.interp(at, np.linspace(0, 1, len(stops)), c) for c in stops.T], axis=1)
    index = (place * 1023).astype(np.int32).clip(0, 1023)
    return np.rint(table).astype(np.uint8)[index]


def clouds(generator: np.random.Generator, side: int) -> np.ndarray:
    """Smooth noise of several scales, float32 (side, side) from 0 to 1."""
    total = np.zeros((side, side), np.float32)
    for octave in range(int(generator.integers(1, 5))):
        count = min(3 * 2**octave, side)
        coarse = generator.random((count, count), dtype=np.float32) / 2**octave
        total += _resized(coarse, side)
    total -= total.min()
    return total / max(float(total.max()), 1e-6)


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _enlarged(picture: np.ndarray, factor: int, side: int) -> np.ndarray:
    """Every pixel as `factor` squared, cut to (side, side)."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)[:side, :side]


def _source(generator: np.random.Generator, side: int, photograph: np.ndarray | None) -> np.ndarray:
    """What is dithered or reduced to few colours, uint8 (side, side, 3)."""
    if photograph is not None and generator.random() < 0.6:
        return photograph[:side, :side]
    if generator.random() < 0.5:
        return gradients(generator, side)
    ends = np.array([colour(generator), colour(generator)], np.float32)
    return np.rint(ends[0] + clouds(generator, side)[..., None] * (ends[1] - ends[0])).astype(
        np.uint8
    )


def _bayer(order: int) -> np.ndarray:
    """Bayer's matrix of side 2**order, as thresholds between 0 and 1."""
    matrix = np.zeros((1, 1))
    for _ in range(order):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / matrix.size


def _thresholds(generator: np.random.Generator, side: int) -> np.ndarray:
    """Thresholds of an ordered or random dither between 0 and 1, (side, side)."""
    way = generator.random()
    if way < 0.2:
        return generator.random((side, side))
    if way < 0.4:
        # The round dots of printing, on a turned grid.
        y, x = np.mgrid[:side, :side]
        pitch = np.pi / generator.uniform(2, 6)
        turn = generator.uniform(0, np.pi / 2)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        return (np.cos(pitch * u) * np.cos(pitch * v) + 1) / 2
    matrix = _bayer(int(generator.integers(1, 4)))
    times = -(-side // len(matrix))
    return np.tile(matrix, (times, times))[:side, :side]


def dithering(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """Two colours, mostly black and white: error diffusion, ordered, random, or a threshold."""
    factor = pick(generator, (1, 1, 1, 1, 2, 3))
    small = -(-side // factor)
    grey = Image.fromarray(_source(generator, small, photograph)).convert("L")
    way = generator.random()
    if way < 0.4:
        on = np.asarray(grey.convert("1").convert("L")) > 0
    elif way < 0.9:
        on = np.asarray(grey) > 255 * _thresholds(generator, small)
    else:
        on = np.asarray(grey) > generator.uniform(64, 192)
    inks: tuple[Colour, Colour] = ((0, 0, 0), (255, 255, 255))
    if generator.random() < 0.25:
        first = colour(generator)
        inks = (first, contrasting(generator, first))
    return _enlarged(np.array(inks, np.uint8)[on.astype(np.uint8)], factor, side)


def palette(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """Few colours: those of the picture, made-up ones, or levels of each channel."""
    source = _source(generator, side, photograph)
    way = generator.random()
    if way < 0.4:
        levels = int(generator.integers(2, 7)) - 1
        lift = _thresholds(generator, side)[..., None] if generator.random() < 0.6 else 0.5
        steps = np.floor(source * np.float32(levels / 255) + lift)
        return (steps.clip(0, levels) * (255 / levels)).astype(np.uint8)
    dither = Image.Dither.FLOYDSTEINBERG if generator.random() < 0.6 else Image.Dither.NONE
    count = pick(generator, (2, 3, 4, 6, 8, 16))
    image = Image.fromarray(source)
    if way < 0.7:
        chosen = image.reduce(4).quantize(count, Image.Quantize.MEDIANCUT)
    else:
        chosen = Image.new("P", (1, 1))
        chosen.putpalette([value for _ in range(count) for value in colour(generator)])
    return np.asarray(image.quantize(palette=chosen, dither=dither).convert("RGB"))


def stripes(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """Checkerboards and stripes of 1 to 8 pixels, one pattern or one in each of four quarters."""
    y, x = np.mgrid[:side, :side]
    top, left = generator.integers(side // 4, side, size=2)
    whole = generator.random() < 0.5
    quarter = np.zeros((side, side), np.uint8) if whole else 2 * (y >= top) + (x >= left)
    picture = np.empty((side, side, 3), np.uint8)
    for i in range(1 if whole else 4):
        wide, high = (int(value) for value in generator.integers(1, 9, size=2))
        count = pick(generator, (2, 2, 2, 3, 4))
        place = pick(generator, (x // wide, y // high, x // wide + y // high, (x + y) // wide))
        first = colour(generator)
        inks = [first, *(contrasting(generator, first) for _ in range(count - 1))]
        drawn = np.array(inks, np.uint8)[place % count]
        np.copyto(picture, drawn, where=(quarter == i)[..., None])
    return picture


def pixel_art(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """Squares of 2 to 16 pixels in few colours: sprites, two-dimensional codes, maps of tiles."""
    factor = int(generator.integers(2, 17))
    count = -(-side // factor)
    first = colour(generator)
    colours = int(generator.integers(1, 6))
    inks = [first, *(contrasting(generator, first) for _ in range(colours))]
    index = generator.integers(len(inks), size=(count, count))
    way = generator.random()
    if way < 0.4:
        index = np.where(np.arange(count) < count // 2, index, index[:, ::-1])
        index[generator.random(index.shape) < 0.4] = 0
    elif way < 0.8:
        index = (clouds(generator, count) * (len(inks) - 0.01)).astype(np.int64)
    return _enlarged(np.array(inks, np.uint8)[index], factor, side)


def noise(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """Uniform or Gaussian noise, or single pixels of black and white, on something smooth."""
    ground = _source(generator, side, photograph)
    if generator.random() < 0.4:
        ground = np.broadcast_to(np.array(colour(generator), np.uint8), (side, side, 3))
    shape = (side, side, pick(generator, (1, 3)))
    strength = np.float32(np.exp(generator.uniform(np.log(1), np.log(128))))
    way = generator.random()
    if way < 0.6:
        if way < 0.4:
            grain = generator.standard_normal(shape, dtype=np.float32)
        else:
            grain = generator.random(shape, dtype=np.float32) * 2 - 1
        return np.rint(ground + strength * grain).clip(0, 255).astype(np.uint8)
    share = strength / 512
    chance = generator.random(shape, dtype=np.float32)
    return np.where(chance < share, np.uint8(0), np.where(chance > 1 - share, 255, ground)).astype(
        np.uint8
    )


def mixed(
    generator: np.random.Generator, side: int, photograph: np.ndarray | None = None
) -> np.ndarray:
    """One to three kinds pasted onto another, or onto the photograph."""
    kinds = tuple(KINDS[name] for name in _CHANCES if name != "mixed")
    if photograph is not None and generator.random() < 0.5:
        picture = photograph.copy()
    else:
        picture = np.array(pick(generator, kinds)(generator, side, photograph))
    for _ in range(int(generator.integers(1, 4))):
        small = int(generator.integers(max(side // 4, 16), side + 1))
        patch = pick(generator, kinds)(generator, small, photograph)
        top, left = (int(value) for value in generator.integers(side - small // 2, size=2))
        place = picture[top : top + small, left : left + small]
        height, width = place.shape[:2]
        patch = patch[:height, :width]
        # Half of them without their ground, as captions and logos are.
        seen = (patch != patch[0, 0]).any(axis=2, keepdims=True) | (generator.random() < 0.5)
        np.copyto(place, patch, where=seen)
    return picture


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "fields": fields,
        "text": text,
        "lines": lines,
        "gradients": gradients,
        "dithering": dithering,
        "palette": palette,
        "stripes": stripes,
        "plots": plots,
        "screens": screens,
        "pixel-art": pixel_art,
        "noise": noise,
        "mixed": mixed,
    }
)
"""By name, what draws a picture (side, side, 3) from a generator, a side and a photograph."""

# A dithered picture or fine stripes cost many times the loss of a photograph, and people have
# fewer of them than of screens and text.
_TIMES = {"fields": 3, "text": 3, "lines": 2, "gradients": 2, "palette": 2, "plots": 2}
_TIMES |= {"screens": 3, "mixed": 3, "dithering": 1, "stripes": 1, "pixel-art": 1, "noise": 1}
_CHANCES = tuple(name for name in KINDS for _ in range(_TIMES[name]))
