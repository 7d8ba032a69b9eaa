"""Real rate and distortion of whole pictures."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lic_fast.codec import metrics, read_picture
from lic_fast.errors import LicFastError, TrainingError
from lic_fast.models import SliceCompressionModel

__all__ = ["final_weights", "read_pictures", "validate"]


def final_weights(model: SliceCompressionModel) -> SliceCompressionModel:
    """A copy in evaluation mode with tables made of its weights, ready to code pictures."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    copied.update(force=True)
    return copied


def read_pictures(paths: Sequence[Path], images: int) -> list[np.ndarray]:
    """Some of the pictures, evenly chosen, uint8 (H, W, 3) each.

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
            pictures.append(read_picture(path).pixels)
        except (LicFastError, OSError) as error:
            raise TrainingError(f"validation picture {path}: {error}") from None
    return pictures


@torch.no_grad()
def validate(model: SliceCompressionModel, pictures: Sequence[np.ndarray]) -> tuple[float, float]:
    """Sums, over the pictures, of bits per pixel and of PSNR in dB.

    Bits are those of the strings; a picture is padded by its edge to the sides that the model
    takes, and its bits are counted over its own pixels. PSNR is of 8-bit pictures. Decoding is
    that of evaluation, the sum of what the encoder had: a float model decodes the same on the
    same machine.

    Args:
        model: From :func:`final_weights`.
        pictures: uint8 (H, W, 3) each.
    """
    bpp = psnr = 0.0
    device = next(model.parameters()).device
    for picture in pictures:
        height, width = picture.shape[:2]
        x = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 255
        rows, columns = -height % model.multiple, -width % model.multiple
        top, left = rows // 2, columns // 2
        padding = (left, columns - left, top, rows - top)
        strings = model.compress(F.pad(x, padding, mode="replicate"))
        decoded = model.decompress(**strings)["x_hat"]
        decoded = decoded[0, :, top : top + height, left : left + width]
        pixels = (decoded * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        size = sum(len(string) for kind in strings["strings"] for string in kind)
        bpp += 8 * size / (height * width)
        psnr += metrics.psnr(picture, pixels)
    return bpp, psnr
