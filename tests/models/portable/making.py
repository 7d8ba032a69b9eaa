"""Portable models that a test can afford."""

from functools import cache

import torch

import lic_fast
from lic_fast.models import SliceCompressionModel
from tests.models.tiny import pictures, tiny, with_gains


@cache
def portable(
    model: type[SliceCompressionModel], seed: int = 0, bits: int = 14
) -> SliceCompressionModel:
    """Of :func:`tests.models.tiny.tiny`, in float32 transforms. Not to be changed."""
    made = lic_fast.make_portable(tiny(model, seed), calibration(), bits=bits)
    made.precision = "float32"
    return made


@cache
def portable_with_gains() -> SliceCompressionModel:
    """Of :func:`tests.models.tiny.with_gains`, in float32 transforms. Not to be changed."""
    made = lic_fast.make_portable(with_gains(), calibration())
    made.precision = "float32"
    return made


def calibration(count: int = 3) -> list[torch.Tensor]:
    """Smooth random pictures of different sizes."""
    shapes = ((128, 256), (256, 128), (130, 140))
    generator = torch.Generator().manual_seed(99)
    made = []
    for i in range(count):
        coarse = torch.rand(1, 3, 9, 11, generator=generator)
        shape = shapes[i % len(shapes)]
        picture = torch.nn.functional.interpolate(coarse, size=shape, mode="bicubic")
        made.append(picture[0].clamp(0, 1))
    return made


__all__ = ["calibration", "pictures", "portable", "portable_with_gains", "tiny", "with_gains"]
