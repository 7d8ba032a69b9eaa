"""What `python -m benchmarks.portability` calls what came out."""

import numpy as np
import pytest
import torch

from benchmarks import portability
from lic_fast.errors import ChecksumError
from lic_fast.models import WACNN
from tests.models.portable.making import portable, tiny

PICTURE = np.random.default_rng(0).integers(30, 220, (16, 24, 3), dtype=np.uint8)
FLOATS = (PICTURE / 255).astype(np.float32)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (FLOATS, "the same"),
        (FLOATS + 0.001, "the same"),
        (FLOATS + np.float32(1 / 255), "1 grey level"),
        (FLOATS + np.float32(3 / 255), "3 grey levels"),
        (FLOATS + np.float32(25 / 255), "noise, PSNR 20.2 dB"),
        (FLOATS + np.float32(8 / 255), "damaged, PSNR 30.1 dB"),
        (np.where(FLOATS > 0.5, np.nan, FLOATS), "NaN"),
        (ChecksumError("others"), "refused: ChecksumError"),
    ],
)
def test_outcomes_have_names(result, words, tmp_path, monkeypatch):
    def decoded(*arguments):
        if isinstance(result, Exception):
            raise result
        return result

    stream = tmp_path / "0 original"
    np.save(f"{stream}.npy", FLOATS)
    monkeypatch.setattr(portability, "decoded", decoded)
    assert portability.outcome(None, "original", stream).startswith(words)


@pytest.mark.parametrize("form", portability.FORMS)
def test_a_process_decodes_its_own_streams(form, tmp_path, monkeypatch):
    monkeypatch.setattr(portability, "SIZE", (64, 128))
    model = portable(WACNN) if form == "portable" else tiny(WACNN)
    portability.encode(model, form, tmp_path / "stream")
    assert portability.outcome(model, form, tmp_path / "stream") == "the same"
    if form == "original":  # the numbers of the model itself, in plain PyTorch
        with torch.no_grad(), portability.lic_fast.backend("reference"):
            expected = model(portability.to_tensor(portability.picture()))["x_hat"]
        found = np.load(tmp_path / "stream.npy")
        assert np.array_equal(found, expected[0].permute(1, 2, 0).numpy())
