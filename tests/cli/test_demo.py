import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lic_fast.cli.collage import amplified_difference
from tests.cli.conftest import Run, draw, pixels_of


def test_the_demo_codes_the_bundled_photograph(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "made" / "here"
    ran = run("demo", "-o", out)
    assert ran.status == 0, ran
    assert sorted(os.listdir(out)) == ["coffee.lic", "coffee.png", "demo.png"]
    decoded = pixels_of(out / "coffee.png")
    assert decoded.shape == (400, 600, 3)
    bpp = 8 * (out / "coffee.lic").stat().st_size / (400 * 600)
    assert bpp < 2
    for part in (f"{bpp:.3f} bpp", "PSNR", "MS-SSIM", "encoded in", "decoded in", "demo.png"):
        assert part in ran.out

    import lic_fast.cli

    original = pixels_of(Path(lic_fast.cli.__file__).parent / "data" / "coffee.png")
    with Image.open(out / "demo.png") as picture:
        assert picture.width > 3 * 600
        assert picture.height > 400
    drawn = pixels_of(out / "demo.png")
    for panel in (original, decoded, amplified_difference(original, decoded)):
        places = [
            left
            for left in range(drawn.shape[1] - 600)
            if np.array_equal(drawn[28:428, left : left + 600], panel)
        ]
        assert len(places) == 1

    # The file decodes to the very picture that the demo wrote.
    again = tmp_path / "again.png"
    assert run("decompress", out / "coffee.lic", "-o", again).status == 0
    assert np.array_equal(pixels_of(again), decoded)


def test_a_second_demo_needs_overwrite(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "small.png")
    out = tmp_path / "out"
    assert run("demo", "-o", out, "--image", source).status == 0
    before = (out / "demo.png").read_bytes()
    ran = run("demo", "-o", out, "--image", source)
    assert ran.status == 1
    assert "exists already; --overwrite replaces it" in ran.err
    assert (out / "demo.png").read_bytes() == before
    assert run("demo", "-o", out, "--image", source, "--overwrite").status == 0


def test_the_demo_never_replaces_its_own_picture(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "mine.png")
    before = source.read_bytes()
    ran = run("demo", "-o", tmp_path, "--image", source, "--overwrite")
    assert ran.status == 2
    assert "would replace" in ran.err
    assert source.read_bytes() == before
    assert os.listdir(tmp_path) == ["mine.png"]


def test_a_picture_called_demo(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "demo.jpg", 3, 2)
    out = tmp_path / "out"
    ran = run("demo", "-o", out, "--image", source)
    assert ran.status == 0, ran
    assert sorted(os.listdir(out)) == ["demo-decoded.png", "demo.lic", "demo.png"]
    assert pixels_of(out / "demo-decoded.png").shape == (3, 2, 3)


@pytest.mark.parametrize("name", ["gone.png", "bad.png"])
def test_a_bad_picture_is_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, name: str
) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    ran = run("demo", "-o", tmp_path / "out", "--image", tmp_path / name)
    assert ran.status == 1
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
