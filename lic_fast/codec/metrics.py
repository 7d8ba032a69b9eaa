"""Distortion between 8-bit pictures."""

from __future__ import annotations

import numpy as np

from lic_fast.lazy import torch_needed

__all__ = ["ms_ssim", "psnr"]

# Five scales and an 11-tap window need more than (11 - 1) * 2^4 pixels.
_LARGEST_SIDE_WITHOUT_MS_SSIM = 160


def _check(a: np.ndarray, b: np.ndarray) -> None:
    for picture in (a, b):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(
                f"a picture is uint8 (H, W, 3), not {picture.dtype} {tuple(picture.shape)}"
            )
    if a.shape != b.shape:
        raise ValueError(f"pictures of {a.shape[:2]} and {b.shape[:2]} cannot be compared")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio, 10 log10(255^2 / MSE) over all channels.

    Args:
        a: uint8 (H, W, 3).
        b: The same.

    Returns:
        Decibels; infinity for equal pictures.

    Raises:
        ValueError: The pictures have another form, or two.
    """
    _check(a, b)
    mse = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float("inf") if mse == 0 else float(10 * np.log10(255**2 / mse))


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Multi-scale structural similarity on RGB, mean of the channels.

    Wang, Simoncelli and Bovik, "Multiscale structural similarity for image
    quality assessment", Asilomar 2003, five scales, as pytorch_msssim computes it.

    Args:
        a: uint8 (H, W, 3).
        b: The same.

    Returns:
        1 for equal pictures; NaN if a side is at most 160 pixels, where the
        coarsest scale is smaller than the window.

    Raises:
        ValueError: The pictures have another form, or two.
        MissingTorchError: pytorch_msssim or torch is not installed.
    """
    _check(a, b)
    if min(a.shape[:2]) <= _LARGEST_SIDE_WITHOUT_MS_SSIM:
        return float("nan")
    with torch_needed("MS-SSIM"):
        import pytorch_msssim
        import torch
    tensors = [
        torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1)[None].double() for p in (a, b)
    ]
    return float(pytorch_msssim.ms_ssim(*tensors, data_range=255))
