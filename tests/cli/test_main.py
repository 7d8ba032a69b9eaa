import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import lic_fast
from tests.cli.conftest import Run, draw

COMMANDS = ["compress", "decompress", "info", "eval", "demo", "models"]


# python -m lic_fast, heeding Ctrl-C even where the tests run in the background of a shell, which
# has its children ignore it.
PROGRAM = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("lic_fast", run_name="__main__", alter_sys=True)
"""


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    checkout = str(Path(lic_fast.__file__).parents[1])
    path = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        **options,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    assert "Traceback" not in err, err
    return process.returncode, out, err


def test_help_names_the_commands(run: Run) -> None:
    ran = run("--help")
    assert ran.status == 0
    for command in COMMANDS:
        assert command in ran.out
        ran_one = run(command, "--help")
        assert ran_one.status == 0
        assert "--help" in ran_one.out


def test_help_does_not_wait_for_torch() -> None:
    script = (
        "import sys; sys.argv = ['lic-fast', 'compress', '--help']\n"
        "from lic_fast.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'compressai', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    checkout = Path(lic_fast.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, check=True, stdout=subprocess.DEVNULL
    )


def test_version(run: Run) -> None:
    ran = run("--version")
    assert (ran.status, ran.out) == (0, f"lic-fast {lic_fast.__version__}\n")


def test_models_lists_the_zoo(run: Run) -> None:
    ran = run("models")
    assert ran.status == 0
    for name in lic_fast.zoo.names():
        assert name in ran.out
    assert "default" in ran.out


@pytest.mark.parametrize(
    "arguments", [["compress"], ["nonsense"], ["compress", "a.png", "--device", "tpu"], ["info"]]
)
def test_usage_errors_end_with_status_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).status == 2


def test_an_unknown_model_lists_those_there_are(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "a.png")
    for model, complaint in (("wacnn-giant", "no model and no file"), (tmp_path, "a folder")):
        ran = run("compress", source, "--model", model)
        assert ran.status == 2
        assert complaint in ran.err
        assert "wacnn-nano" in ran.err
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_file_that_is_no_checkpoint(run: Run, tmp_path: Path) -> None:
    source, model = draw(tmp_path / "a.png"), tmp_path / "model.pth"
    model.write_bytes(b"not a checkpoint")
    ran = run("compress", source, "--model", model)
    assert ran.status == 1
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "a.lic").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none(run: Run, tmp_path: Path) -> None:
    source = draw(tmp_path / "a.png")
    ran = run("compress", source, "--device", "cuda")
    assert ran.status == 2
    assert "--device cpu" in ran.err
    assert run("compress", source, "--device", "auto").status == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_takes_the_gpu(run: Run, tmp_path: Path) -> None:
    ran = run("eval", draw(tmp_path / "a.png"), "--json", "-")
    assert ran.status == 0
    assert '"device": "cuda"' in ran.out


def test_a_process_of_its_own_compresses(tmp_path: Path) -> None:
    source = draw(tmp_path / "a.png")
    status, out, err = finish(start("compress", source, "--device", "cpu"))
    assert (status, err) == (0, "")
    assert out.startswith(f"{source} -> {tmp_path / 'a.lic'}: 72x48, ")


def test_failures_in_a_process_of_its_own_have_no_traceback(tmp_path: Path) -> None:
    bad = tmp_path / "bad.lic"
    bad.write_bytes(b"bad")
    status, out, err = finish(start("decompress", bad, tmp_path / "gone.lic"))
    assert (status, out) == (1, "")
    assert err.count("error: ") == 2
    status, out, err = finish(start("compress", bad, "--format", "png"))
    assert (status, out) == (2, "")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_an_interruption_leaves_whole_files_only(
    run: Run, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for i in range(3):
        draw(folder / f"{i}.png", 320, 320, seed=i)
    for i in range(3, 40):
        os.link(folder / "0.png", folder / f"{i:02}.png")
    process = start("compress", folder, "-o", out, "--device", "cpu")
    deadline = time.monotonic() + 1200
    while not list(out.glob("*.lic")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    ended, _, err = finish(process)
    assert ended == status
    if number == signal.SIGINT:
        assert "interrupted; " in err
    made = sorted(out.iterdir())
    assert 0 < len(made) < 40
    for path in made:
        assert path.suffix == ".lic", "a temporary file was left behind"
    ran = run("info", *made)
    assert (ran.status, ran.err) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_closed_pipe_is_no_crash(tmp_path: Path, lic_file: Path) -> None:
    copies = [tmp_path / f"{i}.lic" for i in range(200)]
    for copy in copies:
        copy.write_bytes(lic_file.read_bytes())
    process = start("info", *copies)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert "Traceback" not in err
    assert process.returncode != 0
