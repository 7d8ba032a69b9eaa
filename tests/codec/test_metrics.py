"""PSNR and MS-SSIM."""

import math

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as reference

from lic_fast.codec.metrics import ms_ssim, psnr


def noisy(size, amount, seed=0):
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (*size, 3)).astype(np.uint8)
    noise = random.integers(-amount, amount + 1, picture.shape)
    return picture, (picture + noise).clip(0, 255).astype(np.uint8)


def test_psnr():
    picture, other = noisy((20, 30), 9)
    assert psnr(picture, picture) == math.inf
    mse = np.square(picture.astype(float) - other).mean()
    assert psnr(picture, other) == pytest.approx(10 * math.log10(255**2 / mse))
    assert psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)) == 0


def test_ms_ssim():
    picture, other = noisy((161, 170), 30)
    assert ms_ssim(picture, picture) == pytest.approx(1)
    tensors = [torch.from_numpy(p).permute(2, 0, 1)[None].float() for p in (picture, other)]
    assert ms_ssim(picture, other) == pytest.approx(
        float(reference(*tensors, data_range=255)), abs=1e-5
    )
    assert math.isnan(ms_ssim(*noisy((160, 500), 5)))


@pytest.mark.parametrize("metric", [psnr, ms_ssim])
def test_other_forms_are_refused(metric):
    picture = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ValueError, match="uint8"):
        metric(picture, picture.astype(np.float32))
    with pytest.raises(ValueError, match="uint8"):
        metric(picture[..., 0], picture[..., 0])
    with pytest.raises(ValueError, match="cannot be compared"):
        metric(picture, picture[:3])
