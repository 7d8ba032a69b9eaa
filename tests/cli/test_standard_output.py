"""A standard output that is full or closed: one line and status 1, of every command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lic_fast
from tests.cli.conftest import draw

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")

# The two commands whose work takes minutes, without it.
PROGRAM = """
import sys, types, warnings
warnings.simplefilter("ignore")  # as the command does, but before torch is imported here
from lic_fast.cli import main, train
command = sys.argv[1]
if command == "train" and "--help" not in sys.argv:
    import typer
    train._job = lambda *_, **__: None
    train._run = lambda *_: typer.echo("run/model.safetensors")
if command == "export" and "--help" not in sys.argv:
    from lic_fast.cli import export
    from lic_fast.models import portable
    class Model:
        portable, architecture = False, "WACNN"
        fingerprint = staticmethod(lambda: bytes(8))
    export.load_model = lambda *_: types.SimpleNamespace(model=Model)
    portable.make_portable = lambda *_, **__: Model
    portable.portable_file = lambda _: b"model"
    portable.largest_sums = lambda _: {"layer": 1}
main.main()
"""

COMMANDS = ["compress", "decompress", "info", "eval", "demo", "export", "train", "models"]
PRINTING = [
    "compress a.png",
    "decompress good.lic",
    "info good.lic",
    "info good.lic --json",
    "eval a.png",
    "eval a.png --csv -",
    "demo --image a.png",
    "export model.pth --calibrate a.png -o m.safetensors",
    "train a.png --recipe r.toml -o run",
    "models",
    "--version",
    "--help",
    *(f"{command} --help" for command in COMMANDS),
]


def start(folder: Path, arguments: str, out: object, **more: object) -> "subprocess.Popen[str]":
    path = str(Path(lic_fast.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=out,  # type: ignore[arg-type]
        stderr=subprocess.PIPE,
        text=True,
        **more,  # type: ignore[call-overload]
    )


@pytest.fixture
def folder(tmp_path: Path, lic_file: Path) -> Path:
    draw(tmp_path / "a.png")
    (tmp_path / "good.lic").write_bytes(lic_file.read_bytes())
    (tmp_path / "r.toml").touch()
    (tmp_path / "model.pth").touch()
    return tmp_path


@pytest.mark.parametrize("arguments", PRINTING)
def test_a_full_output_is_one_line(folder: Path, arguments: str) -> None:
    with open("/dev/full", "w") as full:
        process = start(folder, arguments, full)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    assert err == "error: standard output: No space left on device\n"


@pytest.mark.parametrize("arguments", ["info good.lic", "models", "--help"])
def test_an_output_that_is_not_open_is_one_line(folder: Path, arguments: str) -> None:
    process = start(folder, arguments, None, preexec_fn=lambda: os.close(1))
    _, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    assert err == "error: standard output: Bad file descriptor\n"


@pytest.mark.parametrize("arguments", ["info good.lic", "eval a.png --csv -", "models", "--help"])
def test_a_reader_that_has_gone_is_not_worth_a_line(folder: Path, arguments: str) -> None:
    process = start(folder, arguments, subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(timeout=600) == 1, err
    assert err == ""


@pytest.mark.parametrize("setting", ["PYTHONUNBUFFERED=1", "PYTHONIOENCODING=ascii"])
def test_other_settings_of_the_stream_are_no_way_around(folder: Path, setting: str) -> None:
    name, _, value = setting.partition("=")
    with open("/dev/full", "w") as full, pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        process = start(folder, "info good.lic", full)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 1
    assert err == "error: standard output: No space left on device\n"


def test_a_command_that_prints_nothing_does_not_mind(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        process = start(folder, "compress a.png -q", full)
        _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, "")
    assert (folder / "a.lic").exists()


def test_what_fails_otherwise_keeps_its_status_and_its_message(folder: Path) -> None:
    process = start(folder, "info gone.lic good.lic", subprocess.PIPE)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1
    assert err == "error: gone.lic: no such file or folder\n"
    assert out.startswith("good.lic\n")


def test_characters_that_the_output_cannot_show_are_replaced(folder: Path) -> None:
    (folder / "good.lic").rename(folder / "größe-ż.lic")
    path = str(Path(lic_fast.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "info", "größe-ż.lic"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith("größe-?.lic\n".encode("latin-1"))
