import errno
import warnings
from pathlib import Path

import pytest
import typer

from lic_fast.cli import console
from lic_fast.cli.console import expected_errors, explain, fail, run_batch
from lic_fast.errors import FormatError


def identity(path: Path) -> Path:
    return path


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (FormatError("not a .lic file"), "not a .lic file"),
        (FormatError("a\x1b[2J.lic: damaged"), "a\\x1b[2J.lic: damaged"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a\nb"), "a\\nb: No such file"),
        (FileNotFoundError(errno.ENOENT, "No such file", b"\xff"), "\\udcff: No such file"),
        (OSError("cannot identify image"), "cannot identify image"),
        (MemoryError(), "not enough memory; try a smaller picture or --device cpu"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "not enough memory; try a smaller picture or --device cpu",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
            "not enough memory; try a smaller picture or --device cpu",
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("a bug"), None),
        (KeyError("a bug"), None),
    ],
)
def test_explain_tells_bad_input_from_a_bug(problem: Exception, message: str | None) -> None:
    assert explain(problem) == message


def test_a_batch_goes_on_past_failures(capsys: pytest.CaptureFixture[str]) -> None:
    def work(path: Path) -> int:
        if path.name.startswith("bad"):
            raise FormatError(f"{path}: truncated")
        return len(path.name)

    outcome = run_batch(
        [Path("a"), Path("bad.lic"), Path("abc")],
        work,
        source=identity,
        title="testing",
        failed=console.report([(Path("gone"), "gone: no such file")]),
    )
    assert outcome.done == [(Path("a"), 1), (Path("abc"), 3)]
    assert outcome.failed == [("gone", "no such file"), ("bad.lic", "truncated")]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["error: gone: no such file", "error: bad.lic: truncated"]


def test_a_bug_is_not_taken_for_bad_input() -> None:
    def work(path: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_batch([Path("a")], work, source=identity, title="testing")
    with pytest.raises(ZeroDivisionError), expected_errors():
        work(Path("a"))


def test_an_interruption_says_what_is_done_and_stops(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def work(path: Path) -> None:
        seen.append(path.name)
        if path.name == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch([Path("a"), Path("b"), Path("c")], work, source=identity, title="testing")
    assert seen == ["a", "b"]
    assert capsys.readouterr().err == "interrupted; 1 of 3 done\n"


def test_warnings_of_the_package_are_shown_once_for_each_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = str(Path(console.__file__).parents[1] / "codec" / "images.py")

    def work(path: Path) -> None:
        warnings.warn_explicit(f"{path}: reduced to 8 bits", UserWarning, ours, 1)
        warnings.warn_explicit("elsewhere", UserWarning, "/somewhere/else.py", 1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_batch([Path("a"), Path("b")], work, source=identity, title="testing")
    assert capsys.readouterr().err.splitlines() == [
        "warning: a: reduced to 8 bits",
        "warning: b: reduced to 8 bits",
    ]


def test_messages_are_not_markup_and_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    long = "[red]" + "word " * 60 + "end"
    with pytest.raises(typer.Exit) as caught:
        fail(long, status=2)
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == f"error: {long}\n"


def test_expected_errors_become_a_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, expected_errors():
        raise FormatError("not a .lic file")
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "error: not a .lic file\n"
