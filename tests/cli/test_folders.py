"""Folders: runs that go on where another was interrupted, and what is found before any work."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lic_fast
from lic_fast import codec
from lic_fast.cli.main import app
from tests.cli.conftest import Run, draw, drawing, pixels_of


def without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no model is needed")

    for name in ("cli.transcode.load_coder", "runtime.load", "zoo.load"):
        monkeypatch.setattr(f"lic_fast.{name}", refuse)


def test_an_interrupted_run_goes_on_with_skip_existing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, name in enumerate(("a.png", "b.png", "deep/c.png", "d.png")):
        draw(tmp_path / "in" / name, seed=i)
    out, back = tmp_path / "out", tmp_path / "back"
    assert run("compress", tmp_path / "in", "-o", out).status == 0
    whole = {path: path.read_bytes() for path in out.rglob("*.lic")}
    (out / "a.lic").write_bytes(whole[out / "a.lic"][:-1])
    (out / "b.lic").write_bytes(b"")
    (out / "d.lic").unlink()
    ran = run("compress", tmp_path / "in", "-o", out, "--skip-existing")
    assert ran.status == 0, ran
    assert ran.err.startswith("3 compressed, 1 skipped, ")
    assert {path: path.read_bytes() for path in out.rglob("*.lic")} == whole

    assert run("decompress", out, "-o", back).status == 0
    expected = {path: path.read_bytes() for path in back.rglob("*.png")}
    (back / "a.png").write_bytes(expected[back / "a.png"][:-200])
    (back / "deep" / "c.png").unlink()
    ran = run("decompress", out, "-o", back, "--skip-existing")
    assert (ran.status, ran.err) == (0, "2 decompressed, 2 skipped\n")
    assert {path: path.read_bytes() for path in back.rglob("*.png")} == expected

    # Where all is done, no model is loaded.
    without_models(monkeypatch)
    ran = run("compress", tmp_path / "in", "-o", out, "--skip-existing")
    assert (ran.status, ran.out, ran.err) == (0, "", "0 compressed, 4 skipped\n")
    ran = run("decompress", out, "-o", back, "--skip-existing")
    assert (ran.status, ran.out, ran.err) == (0, "", "0 decompressed, 4 skipped\n")
    ran = run("decompress", out / "a.lic", "-o", back / "a.png", "--skip-existing")
    assert (ran.status, ran.err) == (0, f"{back / 'a.png'} is whole already, skipped\n")
    ran = run("compress", tmp_path / "in", "-o", out, "--skip-existing", "-q")
    assert (ran.status, ran.out, ran.err) == (0, "", "")


def test_what_is_there_and_is_no_output_is_neither_skipped_nor_replaced(
    run: Run, tmp_path: Path, lic_file: Path
) -> None:
    source = draw(tmp_path / "a.png")
    (tmp_path / "a.lic").write_text("a letter")
    newer = bytearray(lic_file.read_bytes())
    newer[4] = 9
    (tmp_path / "b.lic").write_bytes(newer)
    draw(tmp_path / "b.png")
    ran = run("compress", source, tmp_path / "b.png", "--skip-existing")
    assert ran.status == 1
    first, second, summary = ran.err.splitlines()
    assert "a.lic exists already and is no output to skip: not a .lic file" in first
    assert "b.lic exists already and is no output to skip: the file is of version 9" in second
    assert summary == "0 compressed, 2 failed"
    assert (tmp_path / "a.lic").read_text() == "a letter"
    assert (tmp_path / "b.lic").read_bytes() == newer

    (tmp_path / "back.png").write_text("another letter")
    ran = run("decompress", lic_file, "-o", tmp_path / "back.png", "--skip-existing")
    assert ran.status == 1
    assert "no picture of a format" in ran.err
    assert (tmp_path / "back.png").read_text() == "another letter"


def test_to_skip_and_to_replace_exclude_each_other(run: Run, lic_file: Path) -> None:
    for command in ("compress", "decompress"):
        ran = run(command, lic_file, "--skip-existing", "--overwrite", "-o", "x.png.y")
        assert ran.status == 2


def test_a_folder_s_pictures_of_every_format(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    suffixes = [s for s in (".gif", ".jp2", ".avif", ".jxl") if s in codec.writable_suffixes()]
    for suffix in suffixes:
        codec.write_picture(
            draw(folder / f"a{suffix}.bmp").with_suffix(""), codec.Picture(drawing(48, 72))
        )
        (folder / f"a{suffix}.bmp").unlink()
    (folder / "page.pdf").write_bytes(b"%PDF-1.7")
    (folder / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))
    ran = run("compress", folder, "-o", tmp_path / "out", "--keep-suffix")
    assert ran.status == 1
    [complaint] = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert "phone.HEIC: " in complaint
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == sorted(f"a{suffix}.lic" for suffix in suffixes)


def test_pictures_with_something_to_say(run: Run, tmp_path: Path) -> None:
    opaque = np.dstack([drawing(20, 30), np.full((20, 30), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    frames = [Image.fromarray(drawing(20, 30, seed)) for seed in range(2)]
    frames[0].save(tmp_path / "frames.gif", save_all=True, append_images=frames[1:])
    frames[0].convert("CMYK").save(tmp_path / "inks.jpg")
    ran = run("compress", tmp_path)
    assert ran.status == 0, ran
    *said, _ = ran.err.splitlines()
    assert said == [
        f"warning: {tmp_path / 'frames.gif'}: has 2 frames, of which the first is read",
        f"warning: {tmp_path / 'inks.jpg'}: CMYK without a profile is converted to RGB as if the "
        "inks were ideal",
    ]


def test_metadata_do_not_make_a_small_picture_large(run: Run, tmp_path: Path) -> None:
    from PIL import ImageCms

    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x927C] = b"MakerNote" + bytes(20_000)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = draw(tmp_path / "a.jpg", 200, 300, exif=exif.tobytes(), icc_profile=profile)
    bare = tmp_path / "bare.lic"
    assert run("compress", source, "-o", bare, "--strip").status == 0
    assert run("compress", source).status == 0
    assert (tmp_path / "a.lic").stat().st_size < bare.stat().st_size + 300
    told = run("info", tmp_path / "a.lic").out
    assert "sRGB profile, EXIF 20." in told
    assert '"srgb": true' in run("info", tmp_path / "a.lic", "--json").out
    assert run("decompress", tmp_path / "a.lic").status == 0
    with Image.open(source) as before, Image.open(tmp_path / "a.png") as after:
        assert after.info["exif"] == before.info["exif"]


@pytest.mark.parametrize("mode", [0o640, 0o600])
def test_overwriting_keeps_the_mode_and_says_what_becomes_of_hard_links(
    run: Run, tmp_path: Path, mode: int
) -> None:
    source, coded, other = draw(tmp_path / "a.png"), tmp_path / "a.lic", tmp_path / "other.lic"
    coded.write_bytes(b"before")
    coded.chmod(mode)
    os.link(coded, other)
    ran = run("compress", source, "--overwrite")
    assert ran.status == 0
    assert stat.S_IMODE(coded.stat().st_mode) == mode
    assert other.read_bytes() == b"before"
    assert "other names (hard links) keep the old content" in ran.err
    assert len(ran.err.splitlines()) == 1
    back = draw(tmp_path / "back.png")
    back.chmod(mode)
    assert run("decompress", coded, "-o", back, "--overwrite").status == 0
    assert stat.S_IMODE(back.stat().st_mode) == mode
    assert pixels_of(back).shape == (48, 72, 3)


def test_errors_of_writing_name_the_output(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = draw(tmp_path / "a.png")
    make = os.open

    def read_only(path: object, flags: int, *mode: int, **rest: object) -> int:
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", str(path))
        return make(path, flags, *mode, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", read_only)
    ran = run("compress", source)
    assert ran.status == 1
    assert ran.err == f"error: {source}: {tmp_path / 'a.lic'}: Read-only file system\n"


EMPTY = [
    ["compress", ""],
    ["compress", "a.png", ""],
    ["compress", "a.png", "-o", ""],
    ["compress", "a.png", "--out="],
    ["compress", "a.png", "-m", ""],
    ["decompress", ""],
    ["decompress", "a.lic", "-o", ""],
    ["decompress", "a.lic", "--format", ""],
    ["info", ""],
    ["eval", ""],
    ["eval", "a.png", "--json", ""],
    ["eval", "a.png", "-m", "wacnn-nano", "-m", ""],
    ["demo", "-o", ""],
    ["demo", "--image", ""],
    ["export", "", "--calibrate", "a.png", "-o", "m.safetensors"],
    ["export", "wacnn-nano", "--calibrate", "", "-o", "m.safetensors"],
    ["export", "wacnn-nano", "--calibrate", "a.png", "-o", ""],
    ["train", "", "--recipe", "r.toml", "-o", "run"],
    ["train", "a.png", "--recipe", "", "-o", "run"],
    ["train", "a.png", "--recipe", "r.toml", "-o", ""],
]


@pytest.mark.parametrize("arguments", EMPTY, ids=" ".join)
def test_an_empty_text_is_no_path(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "a.png")
    ran = run(*arguments)
    assert ran.status == 2, ran
    assert '""' in ran.err
    assert os.listdir(tmp_path) == ["a.png"]


def test_every_command_is_tried_with_an_empty_text() -> None:
    import typer

    group = typer.main.get_command(app)
    assert {arguments[0] for arguments in EMPTY} == set(group.commands) - {"models"}  # type: ignore[attr-defined]


# Found before torch is imported, which takes seconds: here it cannot be.
WITHOUT_TORCH = """
import sys
for name in ("torch", "compressai", "triton"):
    sys.modules[name] = None
from lic_fast.cli.main import main
sys.argv = ["lic-fast", *sys.argv[1:]]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("compress gone.png", 1, "gone.png: no such file or folder"),
        ("compress pipe.png", 1, "pipe.png: no regular file"),
        ("compress a.png -o there.lic", 1, "there.lic exists already; --overwrite replaces it"),
        ("compress a.png -o pipe.lic --overwrite", 1, "pipe.lic is no regular file"),
        ("compress a.png -o /dev/null --overwrite", 1, "/dev/null: |null is no regular file"),
        ("compress a.png -o there.lic/b.lic", 1, "there.lic: Not a directory"),
        ("compress a.png -m gone.pth", 2, "gone.pth: no model and no file"),
        ("compress a.png -o there.lic --skip-existing", 1, "there.lic exists already and is no"),
        ("decompress gone.lic", 1, "gone.lic: no such file or folder"),
        ("decompress pipe.lic", 1, "pipe.lic: no regular file"),
        ("decompress good.lic -o a.png", 1, "a.png exists already; --overwrite replaces it"),
        ("decompress good.lic -o pipe.png --overwrite", 1, "pipe.png is no regular file"),
        ("decompress good.lic --format xyz", 2, "--format xyz: pictures are written here as"),
        ("decompress good.lic -m gone.pth", 2, "gone.pth: no model and no file"),
        ("info gone.lic", 1, "gone.lic: no such file or folder"),
        ("eval gone.png", 1, "gone.png: no such file or folder"),
        ("eval pipe.png", 1, "pipe.png: no regular file"),
        ("eval a.png --json there.lic", 1, "there.lic exists already"),
        ("eval a.png --csv pipe.lic --overwrite", 1, "pipe.lic is no regular file"),
        ("eval a.png --html gone/r.html", 2, "there is no folder gone"),
        ("eval a.png -m c=gone.pth", 2, "gone.pth: no model and no file"),
        ("demo --image gone.png", 1, "gone.png: no such file"),
        ("demo --image pipe.png", 1, "pipe.png: no such file"),
        ("demo --image a.png -o there.lic", 2, "there.lic is no folder"),
        ("demo -m gone.pth", 2, "gone.pth: no model and no file"),
        ("export gone.pth --calibrate a.png -o m.safetensors", 2, "gone.pth: no model and no file"),
        ("export wacnn-nano --calibrate gone.png -o m.safetensors", 2, "no pictures"),
        ("export wacnn-nano --calibrate a.png -o there.safetensors", 1, "exists already"),
        ("export wacnn-nano --calibrate a.png -o gone/m.safetensors", 2, "there is no folder gone"),
        ("train gone.png --recipe r.toml -o run", 1, "gone.png: no such file or folder"),
        ("train a.png --recipe gone.toml -o run", 1, "gone.toml: no such file"),
        ("train a.png --recipe r.toml --from gone.pth -o run", 1, "gone.pth: no such file"),
        ("train a.png --recipe r.toml -o there.lic", 1, "there.lic is no folder"),
    ],
)
def test_mishaps_are_found_before_torch_is_imported(
    tmp_path: Path, lic_file: Path, arguments: str, status: int, message: str
) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "good.lic").write_bytes(lic_file.read_bytes())
    for name in ("there.lic", "there.safetensors", "r.toml"):
        (tmp_path / name).write_text("precious")
    for name in ("pipe.png", "pipe.lic"):
        os.mkfifo(tmp_path / name)
    before = sorted(os.listdir(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(lic_fast.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert any(part in done.stderr for part in message.split("|")), done.stderr
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "there.lic").read_text() == "precious"


def test_the_script_above_would_notice(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "eval", "a.png"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(lic_fast.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 1
    assert "lic-fast eval needs torch" in done.stderr
