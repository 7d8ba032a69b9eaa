import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lic_fast
from tests.cli.conftest import Run, draw, drawing, pixels_of


@pytest.fixture(scope="module")
def other_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model with one weight changed."""
    model = lic_fast.zoo.load("wacnn-nano")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    name = next(name for name in state if name.startswith("g_s.") and name.endswith("weight"))
    state[name].view(-1)[0] += 0.5
    path = tmp_path_factory.mktemp("models") / "other.pth.tar"
    torch.save({"state_dict": state}, path)
    return path


def test_the_output_path_is_printed_and_the_picture_is_close(
    run: Run, tmp_path: Path, lic_file: Path
) -> None:
    out = tmp_path / "back.png"
    ran = run("decompress", lic_file, "-o", out)
    assert (ran.status, ran.out, ran.err) == (0, f"{out}\n", "")
    error = pixels_of(out).astype(float) - drawing(48, 72)
    assert np.sqrt(np.mean(error**2)) < 12


@pytest.mark.parametrize("name", ["png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "gif", "ppm"])
def test_every_output_format(run: Run, tmp_path: Path, lic_file: Path, name: str) -> None:
    exact, out = tmp_path / "exact.png", tmp_path / "folder"
    assert run("decompress", lic_file, "-o", exact).status == 0
    ran = run("decompress", lic_file, "-o", f"{out}/", "--format", name)
    assert ran.status == 0, ran
    made = out / f"source.{name}"
    with Image.open(made) as picture:
        assert picture.format == {"jpg": "JPEG", "tif": "TIFF"}.get(name, name.upper())
        assert picture.size == (72, 48)
    error = pixels_of(made).astype(float) - pixels_of(exact)
    assert np.sqrt(np.mean(error**2)) < (10 if name in ("jpg", "jpeg", "webp", "gif") else 1e-9)
    # The same by the suffix of the output file.
    again = tmp_path / f"again.{name}"
    assert run("decompress", lic_file, "-o", again).status == 0
    assert again.read_bytes() == made.read_bytes()


def test_quality_matters_to_jpeg(run: Run, tmp_path: Path, lic_file: Path) -> None:
    for quality in (10, 95):
        out = tmp_path / f"{quality}.jpg"
        assert run("decompress", lic_file, "-o", out, "--quality", quality).status == 0
    assert (tmp_path / "10.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size
    assert run("decompress", lic_file, "-o", tmp_path / "a.jpg", "--quality", 101).status == 2
    ran = run("decompress", lic_file, "-o", tmp_path / "a.png", "--quality", 50)
    assert ran.status == 2
    assert "not .png" in ran.err
    assert sorted(os.listdir(tmp_path)) == ["10.jpg", "95.jpg"]


def test_output_names_without_a_format_are_usage_errors(
    run: Run, tmp_path: Path, lic_file: Path
) -> None:
    for name in ("a.pdf", "a.ico", "a", "a.lic"):
        ran = run("decompress", lic_file, "-o", tmp_path / name)
        assert ran.status == 2, ran
        assert ".png" in ran.err
    ran = run("decompress", lic_file, "-o", tmp_path / "", "--format", "pdf")
    assert ran.status == 2
    assert "--format pdf: pictures are written here as " in ran.err
    ran = run("decompress", lic_file, "-o", tmp_path / "a.png", "--format", "jpg")
    assert ran.status == 2
    assert "contradicts --format jpg" in ran.err
    assert run("decompress", lic_file, "-o", tmp_path / "a.jpeg", "--format", "jpg").status == 0
    assert os.listdir(tmp_path) == ["a.jpeg"]


def test_corrupted_files_are_reported_and_the_others_decoded(
    run: Run, tmp_path: Path, lic_file: Path
) -> None:
    data = lic_file.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 16
    (tmp_path / "a-flipped.lic").write_bytes(flipped)
    (tmp_path / "b-cut.lic").write_bytes(data[:-3])
    (tmp_path / "c-empty.lic").write_bytes(b"")
    (tmp_path / "d-text.lic").write_bytes(b"this is no picture at all, but a text\n")
    (tmp_path / "e-good.lic").write_bytes(data)
    ran = run("decompress", tmp_path)
    assert ran.status == 1
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    names = ["a-flipped.lic", "b-cut.lic", "c-empty.lic", "d-text.lic"]
    assert len(errors) == len(names)
    for line, name in zip(errors, names, strict=True):
        assert line.startswith(f"error: {tmp_path / name}: ")
        assert len(line) > len(f"error: {tmp_path / name}: ") + 10
    assert ran.err.splitlines()[-1] == "1 decompressed, 4 failed"
    assert [p.name for p in tmp_path.glob("*.png")] == ["e-good.png"]


def test_an_existing_picture_is_not_touched_unless_asked(
    run: Run, tmp_path: Path, lic_file: Path
) -> None:
    out = tmp_path / "a.png"
    out.write_bytes(b"precious")
    assert run("decompress", lic_file, "-o", out).status == 1
    assert out.read_bytes() == b"precious"
    assert run("decompress", lic_file, "-o", out, "--overwrite").status == 0
    assert pixels_of(out).shape == (48, 72, 3)


def test_the_wrong_model_is_refused(
    run: Run, tmp_path: Path, lic_file: Path, other_checkpoint: Path
) -> None:
    out = tmp_path / "a.png"
    ran = run("decompress", lic_file, "-o", out, "--model", other_checkpoint)
    assert ran.status == 1
    assert "model" in ran.err
    assert not out.exists()


def test_a_file_of_a_checkpoint_needs_that_checkpoint(
    run: Run, tmp_path: Path, other_checkpoint: Path
) -> None:
    source = draw(tmp_path / "a.png")
    assert run("compress", source, "--model", other_checkpoint).status == 0
    out = tmp_path / "back.png"
    ran = run("decompress", tmp_path / "a.lic", "-o", out)
    assert ran.status == 1
    assert '"other"' in ran.err
    assert "--model" in ran.err
    assert not out.exists()
    ran = run("decompress", tmp_path / "a.lic", "-o", out, "--model", other_checkpoint)
    assert ran.status == 0, ran
    assert pixels_of(out).shape == (48, 72, 3)


def test_max_pixels_is_checked_against_the_declared_size(
    run: Run, tmp_path: Path, lic_file: Path
) -> None:
    out = tmp_path / "a.png"
    ran = run("decompress", lic_file, "-o", out, "--max-pixels", 72 * 48 - 1)
    assert ran.status == 1
    assert "3455" in ran.err.replace(",", "")
    assert run("decompress", lic_file, "-o", out, "--max-pixels", 72 * 48).status == 0
