"""A model of many rates on the command line."""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import lic_fast
from lic_fast import codec, runtime
from lic_fast.codec.coder import coder_of
from lic_fast.models.portable.files import portable_file
from tests.cli.conftest import Run, draw, drawing, pixels_of
from tests.models.portable.making import portable_with_gains
from tests.models.tiny import WACNN, faithful_transforms, tiny, with_gains


@pytest.fixture(autouse=True)
def _faithful(monkeypatch: pytest.MonkeyPatch) -> None:
    faithful_transforms(monkeypatch)
    # The runtime would run the transforms that the file holds.
    monkeypatch.setattr(runtime, "load", lambda path: coder_of(lic_fast.load(path)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("models")
    paths = {name: folder / f"{name}.pth" for name in ("gained", "single")}
    torch.save(with_gains().state_dict(), paths["gained"])
    torch.save(tiny(WACNN).state_dict(), paths["single"])
    paths["portable"] = folder / "portable.safetensors"
    paths["portable"].write_bytes(portable_file(portable_with_gains()))
    return paths


@pytest.mark.parametrize("kind", ["gained", "portable"])
def test_a_quality_goes_through_files(
    run: Run, tmp_path: Path, models: dict[str, Path], kind: str
) -> None:
    source = draw(tmp_path / "a.png")
    sizes, errors = [], []
    for quality in ("1", "33.337", "50", "99.9"):
        coded = tmp_path / f"{quality}.lic"
        ran = run("compress", source, "-o", coded, "-m", models[kind], "--quality", quality)
        assert ran.status == 0, ran
        sizes.append(coded.stat().st_size)
        shown = round(float(quality), 2)
        assert f"{8 * sizes[-1] / (72 * 48):.3f} bpp, quality {shown:g}\n" in ran.out
        assert "dB" not in ran.out
        (described,) = json.loads(run("info", coded, "--json").out)
        assert described["quality"] == shown
        assert f"  quality   {shown:g}\n" in run("info", coded).out
        assert run("decompress", coded, "-m", models[kind]).status == 0
        decoded = pixels_of(coded.with_suffix(".png"))
        net = lic_fast.load(models[kind])
        assert (codec.decode_image(coded.read_bytes(), net).pixels == decoded).all()
        errors.append(abs(decoded.astype(int) - drawing(48, 72)).mean())
    assert sizes == sorted(set(sizes))
    assert errors[0] > 2 * errors[2]
    assert run("compress", source, "-o", tmp_path / "d.lic", "-m", models[kind]).status == 0
    assert (tmp_path / "d.lic").read_bytes() == (tmp_path / "50.lic").read_bytes()


@pytest.mark.parametrize("kind", ["gained", "portable"])
def test_bounds_are_kept_and_what_was_chosen_is_printed(
    run: Run, tmp_path: Path, models: dict[str, Path], kind: str
) -> None:
    source = draw(tmp_path / "a.png")
    exif = draw(tmp_path / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + bytes(300))
    for picture, arguments, largest in (
        (source, ("--size", "0.9kB"), 900),
        (source, ("--size", "1 KiB"), 1024),
        (source, ("--size", "1000"), 1000),
        (exif, ("--size", "1200B"), 1200),
        (source, ("--bpp", "2.25"), 972),
    ):
        coded = picture.with_suffix(".lic")
        ran = run("compress", picture, "-m", models[kind], *arguments, "--overwrite")
        assert ran.status == 0, ran
        assert 0.97 * largest < coded.stat().st_size <= largest
        quality = codec.unpack(coded.read_bytes()).quality
        assert 1 < quality < 100
        assert ran.out.endswith(f" bpp, quality {quality:g}\n")
    ran = run("compress", source, "-m", models[kind], "--psnr", "24.5", "--overwrite")
    assert ran.status == 0, ran
    data = source.with_suffix(".lic").read_bytes()
    decoded = codec.decode_image(data, lic_fast.load(models[kind])).pixels
    psnr = codec.metrics.psnr(drawing(48, 72), decoded)
    assert 24.5 <= psnr < 24.6
    assert ran.out.endswith(f"quality {codec.unpack(data).quality:g}, {psnr:.2f} dB\n")


def test_each_picture_of_a_folder_has_its_own_quality(
    run: Run, tmp_path: Path, models: dict[str, Path]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    draw(folder / "a.png", seed=1)
    draw(folder / "b.png", 96, 130, seed=2)
    draw(folder / "c.png", 300, 300, seed=3)
    (folder / "d.png").write_bytes(b"no picture")
    ran = run("compress", folder, "-o", out, "-m", models["gained"], "--size", "1.3kB")
    assert ran.status == 1, ran
    assert sorted(os.listdir(out)) == ["a.lic", "b.lic"]
    first, second = ran.out.splitlines()
    stated = [codec.unpack((out / name).read_bytes()).quality for name in ("a.lic", "b.lic")]
    assert first.endswith(f"quality {stated[0]:g}")
    assert second.endswith(f"quality {stated[1]:g}")
    assert stated[0] > stated[1]
    least = len(
        codec.encode_image(drawing(300, 300, 3), with_gains(), quality=1, model_name="gained")
    )
    assert (
        f"c.png: 1300 bytes are less than this model takes for this picture, which is {least}"
        in (ran.err)
    )
    assert "2 compressed, 2 failed" in ran.err
    ran = run("compress", folder / "a.png", "-m", models["gained"], "--psnr", 60)
    assert ran.status == 1
    assert "60 dB are more than this model gives" in ran.err
    assert not (folder / "a.lic").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--quality", 50, "--size", "1kB"), "--quality and --size: only one of"),
        (("--bpp", 1, "--psnr", 30), "--bpp and --psnr: only one of"),
        (("--quality", 0), "--quality: quality is 1 to 100, not 0"),
        (("--quality", 100.1), "--quality: quality is 1 to 100, not 100.1"),
        (("--quality", "nan"), "--quality: quality is a number, not nan"),
        (("--quality", "best"), "--quality"),
        (("--size", "200 kb"), "--size: '200 kb' is no size: write a number of bytes"),
        (("--size", "0"), "one with B, kB, KiB, MB, MiB, such as 200kB"),
        (("--size", "-5"), "'-5' is no size"),
        (("--bpp", 0), "--bpp: bpp is more than 0, not 0"),
        (("--bpp", "inf"), "--bpp: bpp is a number, not inf"),
        (("--psnr", -3), "--psnr: psnr is more than 0, not -3"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(
    run: Run, tmp_path: Path, arguments: tuple[object, ...], complaint: str
) -> None:
    source, model = draw(tmp_path / "a.png"), tmp_path / "model.pth"
    model.write_bytes(b"not looked at")
    ran = run("compress", source, "-m", model, *arguments)
    assert ran.status == 2, ran
    assert complaint in ran.err
    assert not (tmp_path / "a.lic").exists()


@pytest.mark.parametrize(
    "arguments", [("--quality", 2), ("--size", "1MB"), ("--bpp", 1), ("--psnr", 20)]
)
def test_a_model_of_one_rate_is_named_before_anything_is_coded(
    run: Run, tmp_path: Path, models: dict[str, Path], arguments: tuple[str, object]
) -> None:
    draw(tmp_path / "a.png")
    for name, model in (("wacnn-nano-3", ()), ("single", ("-m", models["single"]))):
        ran = run("compress", tmp_path, *model, *arguments)
        assert ran.status == 2, ran
        assert f"{arguments[0]}: the model {name} has no gains" in ran.err
    assert os.listdir(tmp_path) == ["a.png"]


def test_files_of_one_rate_say_so(run: Run, lic_file: Path) -> None:
    (described,) = json.loads(run("info", lic_file, "--json").out)
    assert described["quality"] is None
    assert "  quality   the model's one rate\n" in run("info", lic_file).out


def test_eval_measures_a_model_over_its_qualities(
    run: Run, tmp_path: Path, models: dict[str, Path]
) -> None:
    folder = tmp_path / "pictures"
    draw(folder / "a.png", 64, 64, seed=1)
    draw(folder / "b.png", 40, 70, seed=2)
    (folder / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "report.html"
    ran = run("eval", folder, "-m", models["gained"], "--html", out, "--anchors", "jpeg",
              "--csv", tmp_path / "r.csv", "--json", tmp_path / "r.json")  # fmt: skip
    assert ran.status == 1, ran
    assert ran.err.count("bad.png") == 1
    documents = json.loads((tmp_path / "r.json").read_text())["models"]
    qualities = [document["configuration"]["quality"] for document in documents]
    assert qualities == [1, 20, 40, 60, 80, 100]
    for key in ("bpp", "psnr_db"):
        values = [document["mean"][key] for document in documents]
        assert values[:4] == sorted(set(values[:4]))
    net = with_gains()
    for document, quality in zip(documents, qualities, strict=True):
        data = codec.encode_image(drawing(64, 64, 1), net, quality=quality, model_name="gained")
        assert document["images"][0]["bytes"] == len(data)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert [(row["model"], row["quality"], row["file"]) for row in rows[:4]] == [
        ("gained", "1", "a.png"), ("gained", "1", "b.png"), ("gained", "1", "mean"),
        ("gained", "20", "a.png"),
    ]  # fmt: skip
    text = out.read_text()
    for words in ("Every picture: gained, quality 20", "gained, quality 40, ", "BD-rate"):
        assert words in text
    for quality in qualities:
        assert f"gained, quality {quality:g} (WACNN)" in ran.out


def test_eval_takes_other_qualities_and_models_of_one_rate_beside(
    run: Run, tmp_path: Path, models: dict[str, Path]
) -> None:
    source = draw(tmp_path / "a.png")
    chosen = ("--quality", 70, "--quality", 10.004, "--quality", 10)
    ran = run("eval", source, "-m", models["portable"], "-m", models["single"], *chosen,
              "--csv", "-")  # fmt: skip
    assert ran.status == 0, ran
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    means = [(row["model"], row["quality"]) for row in rows if row["file"] == "mean"]
    assert means == [("portable", "10"), ("portable", "70"), ("single", "")]
    assert "warning: single has no gains: --quality does not concern it" in ran.err
    ran = run("eval", source, "-m", models["single"], *chosen)
    assert ran.status == 2
    assert "--quality: the model single has no gains" in ran.err
    ran = run("eval", source, "-m", models["gained"], "--quality", 101)
    assert ran.status == 2
    assert "quality is 1 to 100, not 101" in ran.err
