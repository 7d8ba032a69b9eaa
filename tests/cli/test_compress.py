import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run, draw, drawing, pixels_of


def test_one_picture_goes_beside_itself_and_its_sizes_are_printed(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "a.png")
    ran = run("compress", source)
    assert ran.status == 0, ran
    coded = tmp_path / "a.lic"
    assert 0 < coded.stat().st_size < source.stat().st_size * 3
    bpp = 8 * coded.stat().st_size / (72 * 48)
    assert ran.out.startswith(f"{source} -> {coded}: 72x48, ")
    assert f"{bpp:.3f} bpp" in ran.out
    assert ran.err == ""


def test_a_folder_with_a_bad_file_among_good_ones(run: Run, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png", seed=1)
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    draw(tmp_path / "in" / "deep" / "c.jpg", seed=2)
    (tmp_path / "in" / "notes.txt").write_text("left alone")
    out = tmp_path / "out"
    ran = run("compress", tmp_path / "in", "-o", out)
    assert ran.status == 1, ran
    made = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert made == ["a.lic", os.path.join("deep", "c.lic")]
    [complaint] = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert str(tmp_path / "in" / "bad.png") in complaint
    assert ran.err.splitlines()[-1].startswith("2 compressed, 1 failed, ")

    back = tmp_path / "back"
    assert run("decompress", out, "-o", back).status == 0
    made = sorted(str(p.relative_to(back)) for p in back.rglob("*") if p.is_file())
    assert made == ["a.png", os.path.join("deep", "c.png")]
    assert pixels_of(back / "a.png").shape == (48, 72, 3)


def test_several_paths_one_of_them_missing(run: Run, tmp_path: Path) -> None:
    first, second = draw(tmp_path / "a.png"), draw(tmp_path / "b.bmp")
    ran = run("compress", first, tmp_path / "gone.png", second)
    assert ran.status == 1
    assert f"error: {tmp_path / 'gone.png'}: no such file or folder" in ran.err
    assert (tmp_path / "a.lic").exists()
    assert (tmp_path / "b.lic").exists()


def test_an_existing_output_is_not_touched_unless_asked(run: Run, tmp_path: Path) -> None:
    source, coded = draw(tmp_path / "a.png"), tmp_path / "a.lic"
    coded.write_bytes(b"precious")
    ran = run("compress", source)
    assert ran.status == 1
    assert "exists already; --overwrite replaces it" in ran.err
    assert coded.read_bytes() == b"precious"
    assert run("compress", source, "--overwrite").status == 0
    assert coded.read_bytes() != b"precious"
    assert sorted(os.listdir(tmp_path)) == ["a.lic", "a.png"]


def test_colliding_outputs_are_refused_before_any_work(run: Run, tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.png"):
        draw(tmp_path / name)
    ran = run("compress", tmp_path)
    assert ran.status == 2
    assert "2 inputs would be written to" in ran.err
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "a.png", "b.png"]
    assert run("compress", tmp_path, "--keep-suffix").status == 0
    coded = sorted(p.name for p in tmp_path.glob("*.lic"))
    assert coded == ["a.jpg.lic", "a.png.lic", "b.png.lic"]


def test_alpha_is_refused_with_the_way_out(run: Run, tmp_path: Path) -> None:
    pixels = np.dstack([drawing(20, 30), np.full((20, 30), 128, np.uint8)])
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    ran = run("compress", tmp_path / "a.png")
    assert ran.status == 1
    assert "alpha" in ran.err
    assert "flatten" in ran.err
    assert os.listdir(tmp_path) == ["a.png"]


def test_sixteen_bits_are_reduced_with_a_warning(run: Run, tmp_path: Path) -> None:
    deep = (drawing(20, 30)[:, :, 0].astype(np.uint16)) * 257
    Image.fromarray(deep).save(tmp_path / "a.png")
    ran = run("compress", tmp_path / "a.png")
    assert ran.status == 0, ran
    source = tmp_path / "a.png"
    assert ran.err == f"warning: {source}: 16 bits per sample are reduced to 8\n"


def test_max_pixels_refuses_a_larger_picture(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "a.png", 20, 30)
    ran = run("compress", source, "--max-pixels", 599)
    assert ran.status == 1
    assert "30x20" in ran.err
    assert "599" in ran.err
    assert not (tmp_path / "a.lic").exists()
    assert run("compress", source, "--max-pixels", 600).status == 0
    assert run("compress", source, "--max-pixels", 0).status == 2


def test_strip_drops_profile_and_exif(run: Run, tmp_path: Path) -> None:
    from PIL import ImageCms

    from lic_fast.codec.colour import is_srgb

    exif = Image.Exif()
    exif[0x010E] = "a description to find"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = draw(tmp_path / "a.png", exif=exif.tobytes(), icc_profile=profile)
    kept, stripped = tmp_path / "kept.lic", tmp_path / "stripped.lic"
    assert run("compress", source, "-o", kept).status == 0
    assert run("compress", source, "-o", stripped, "--strip").status == 0
    assert run("decompress", kept, stripped).status == 0
    with Image.open(kept.with_suffix(".png")) as picture:
        assert is_srgb(picture.info["icc_profile"])
        assert picture.getexif()[0x010E] == "a description to find"
    with Image.open(stripped.with_suffix(".png")) as picture:
        assert "icc_profile" not in picture.info
        assert not picture.getexif()
    assert np.array_equal(
        pixels_of(kept.with_suffix(".png")), pixels_of(stripped.with_suffix(".png"))
    )


def test_out_names_that_would_deceive_are_usage_errors(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "a.png")
    assert run("compress", source, "-o", tmp_path / "b.jpg").status == 2
    assert run("compress", source, "-o", "-").status == 2
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_output_folder_that_cannot_be_made_is_an_error(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "a.png")
    (tmp_path / "file").touch()
    ran = run("compress", source, "-o", tmp_path / "file" / "deep" / "a.lic")
    assert ran.status == 1
    assert "Not a directory" in ran.err


def test_names_that_are_no_text_are_handled(run: Run, tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"\xff\nodd.png")
    try:
        draw(source)
    except OSError:
        pytest.skip("this file system has no such names")
    ran = run("compress", source)
    assert ran.status == 0, ran
    assert "\\udcff\\nodd.lic" in ran.out
    assert source.with_suffix(".lic").exists()
    source.write_bytes(b"bad")
    ran = run("compress", source, "--overwrite")
    assert ran.status == 1
    [complaint] = ran.err.splitlines()
    assert complaint.startswith(f"error: {tmp_path}{os.sep}\\udcff\\nodd.png: ")
    assert complaint.count("odd.png") == 1


def test_quiet_prints_nothing_but_errors(run: Run, tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    ran = run("compress", tmp_path, "-q")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    ran = run("compress", tmp_path / "a.png", "-q")
    assert ran.status == 1
    assert ran.err.startswith("error: ")


def test_each_model_of_a_family_has_its_name(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "a.png")
    sizes = []
    for i, arguments in enumerate(
        (["-m", "wacnn-nano-1"], ["-m", "wacnn-nano-4"], [], ["-m", "wacnn-nano-3"])
    ):
        out = tmp_path / f"{i}.lic"
        assert run("compress", source, "-o", out, *arguments).status == 0
        sizes.append(out.stat().st_size)
        # The file knows its model.
        assert run("decompress", out, "-o", tmp_path / f"{i}.png").status == 0
        assert pixels_of(tmp_path / f"{i}.png").shape == (48, 72, 3)
    assert sizes[0] < sizes[2] < sizes[1]
    assert (tmp_path / "2.lic").read_bytes() == (tmp_path / "3.lic").read_bytes()
