"""Real rate and distortion of whole pictures."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from lic_fast.codec import metrics, read_picture
from lic_fast.errors import LicFastError, TrainingError
from lic_fast.models import SliceCompressionModel

__all__ = ["Picture", "final_weights", "read_pictures", "validate"]


class Picture(NamedTuple):
    """A picture to measure on.

    Attributes:
        group: Name of its folder: means are taken over each folder's pictures.
        pixels: uint8 (H, W, 3).
    """

    group: str
    pixels: np.ndarray


def final_weights(model: SliceCompressionModel) -> SliceCompressionModel:
    """A copy in evaluation mode with tables made of its weights, ready to code pictures."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    copied.update(force=True)
    return copied


def read_pictures(paths: Sequence[Path], images: int) -> list[Picture]:
    """Some of the pictures, evenly chosen.

    Args:
        paths: Picture files.
        images: Take so many; 0 for all.

    Raises:
        TrainingError: One cannot be read.
    """
    if images and len(paths) > images:
        paths = [paths[i * len(paths) // images] for i in range(images)]
    pictures = []
    for path in paths:
        try:
            pictures.append(Picture(path.absolute().parent.name, read_picture(path).pixels))
        except (LicFastError, OSError) as error:
            raise TrainingError(f"validation picture {path}: {error}") from None
    return pictures


@torch.no_grad()
def validate(model: SliceCompressionModel, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Bits per pixel, and PSNR in dB, of each picture at each anchor of the qualities.

    Bits are those of the strings; a picture is padded by its edge to the sides that the model
    takes, and its bits are counted over its own pixels. PSNR is of 8-bit pictures. The
    reconstruction is the encoder's: a float model decodes the same on the same machine.

    Args:
        model: From :func:`final_weights`.
        pictures: uint8 (H, W, 3) each.

    Returns:
        (pictures, anchors, 2); of a model of one rate (pictures, 1, 2).
    """
    qualities = model.anchor_qualities or (None,)
    device = next(model.parameters()).device
    found = np.zeros((len(pictures), len(qualities), 2))
    for i, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        x = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 255
        rows, columns = -height % model.multiple, -width % model.multiple
        top, left = rows // 2, columns // 2
        padding = (left, columns - left, top, rows - top)
        y = model.analyse(F.pad(x, padding, mode="replicate"))
        for j, quality in enumerate(qualities):
            streams, y_hat = model.encode_latents(y, quality=quality)
            decoded = model.reconstruct(y_hat, quality=quality)
            decoded = decoded[0, :, top : top + height, left : left + width]
            pixels = (decoded * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
            size = len(streams.y[0]) + len(streams.z[0])
            found[i, j] = 8 * size / (height * width), metrics.psnr(picture, pixels)
    return found
