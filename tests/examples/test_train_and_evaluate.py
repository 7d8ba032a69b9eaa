"""The example runs, and learns."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "examples/train_and_evaluate.py"


def test_example(tmp_path, monkeypatch, capsys):
    if not SCRIPT.is_file():
        pytest.skip("the examples are not beside the tests")
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    picture = np.stack([np.tile(ramp, (80, 1)), np.tile(ramp[:80, None], (1, 96))] * 2, -1)[..., :3]
    Image.fromarray(picture).save(tmp_path / "ramp.png")
    monkeypatch.setattr(
        sys, "argv",
        [str(SCRIPT), "--steps", "6", "--batch", "2", "--size", "64", str(tmp_path / "ramp.png")],
    )  # fmt: skip
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    losses = [float(value) for value in re.findall(r"loss (\S+)", printed)]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    bpp, psnr = re.search(r"(\S+) bpp, (\S+) dB", printed).groups()
    assert float(bpp) > 0
    assert float(psnr) > 0
