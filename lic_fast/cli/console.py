"""What the commands say, where they say it, and the exit status they end with.

Results go to standard output; errors, warnings, progress and summaries of a batch to
standard error. Status 0: all done. 1: something failed. 2: the arguments make no sense.
130: interrupted.

rich is imported when something of it is shown: a command on one good file does not wait for it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import typer

from lic_fast.cli.text import display
from lic_fast.errors import LicFastError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

__all__ = [
    "Outcome",
    "checked_output",
    "error",
    "expected_errors",
    "explain",
    "fail",
    "note",
    "prepare_process",
    "print_table",
    "progress_bar",
    "report",
    "run_batch",
    "warn",
    "warnings_of",
]

Item = TypeVar("Item")
Result = TypeVar("Result")


def error_console() -> Console:
    """A console on the current standard error; tests and shells may swap that stream."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def note(message: str, console: Console | None = None) -> None:
    """Prints a line on standard error."""
    _print("", "", message, console)


def warn(message: str, console: Console | None = None) -> None:
    """Prints a warning on standard error."""
    _print("warning: ", "yellow", message, console)


def error(message: str, console: Console | None = None) -> None:
    """Prints an error on standard error."""
    _print("error: ", "bold red", message, console)


def _print(prefix: str, style: str, message: str, console: Console | None) -> None:
    from rich.text import Text

    text = Text.assemble((prefix, style), message)
    (console or error_console()).print(text, soft_wrap=True)


def fail(message: str, status: int = 2) -> NoReturn:
    """Prints an error and ends the command with `status`."""
    error(message)
    raise typer.Exit(status)


def explain(problem: BaseException) -> str | None:
    """One line on an error that bad input or a full machine may cause; None for a bug."""
    if isinstance(problem, LicFastError):
        return display(str(problem))
    if _out_of_memory(problem):
        return "not enough memory; try a smaller picture or --device cpu"
    if isinstance(problem, OSError):
        reason = display(problem.strerror or str(problem)) or type(problem).__name__
        name = problem.filename
        return (
            f"{display(os.fsdecode(name))}: {reason}" if isinstance(name, str | bytes) else reason
        )
    return None


def _out_of_memory(problem: BaseException) -> bool:
    if isinstance(problem, MemoryError):
        return True
    # torch's own class on CUDA, a bare RuntimeError from the CPU allocator.
    if not isinstance(problem, RuntimeError):
        return False
    message = str(problem).lower()
    return "out of memory" in message or "can't allocate memory" in message


@contextmanager
def expected_errors(status: int = 1) -> Iterator[None]:
    """Turns expected errors inside the block into one line and an exit status."""
    try:
        yield
    except Exception as problem:
        message = explain(problem)
        if message is None:
            raise
        fail(message, status)


@dataclass
class Outcome(Generic[Item, Result]):
    """What became of a batch: each result with its item, each failure with its reason."""

    done: list[tuple[Item, Result]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def run_batch(
    items: Sequence[Item],
    work: Callable[[Item], Result],
    *,
    source: Callable[[Item], Path],
    title: str,
    failed: Sequence[tuple[str, str]] = (),
    quiet: bool = False,
) -> Outcome[Item, Result]:
    """Does `work` on every item, going on past those that fail.

    Failures are reported as they happen. A progress bar shows on standard error if that
    is a terminal and there is more than one item.

    Args:
        items: What to work on.
        work: Called once for each item.
        source: The file an item stands for, to name it in messages.
        title: Beside the progress bar, such as "compressing".
        failed: Failures known before the work, which :func:`report` has printed.
        quiet: Show no progress bar. Failures are reported all the same.
    """
    console = error_console() if len(items) > 1 and not quiet else None
    outcome: Outcome[Item, Result] = Outcome(failed=list(failed))
    with progress_bar(console) if console else nullcontext() as progress:
        task = progress.add_task(title, total=len(items)) if progress else None
        for item in items:
            path = source(item)
            if progress and task is not None:
                progress.update(task, description=f"{title} {_short(path)}")
            try:
                with warnings_of(path, console):
                    result = work(item)
            except Exception as problem:
                message_or_bug = explain(problem)
                if message_or_bug is None:
                    raise
                outcome.failed += report([(path, message_or_bug)], console)
            except KeyboardInterrupt:
                note(f"interrupted; {len(outcome.done)} of {len(items)} done", console)
                raise
            else:
                outcome.done.append((item, result))
            if progress and task is not None:
                progress.advance(task)
    return outcome


def progress_bar(console: Console | None = None, *, hidden: bool = False) -> Progress:
    """A progress bar on standard error, shown if that is a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = console or error_console()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
    )


def report(
    problems: Iterable[tuple[Path, str]], console: Console | None = None
) -> list[tuple[str, str]]:
    """Prints what is wrong with files, and returns it as :class:`Outcome` has it."""
    reported = []
    for path, message in problems:
        text = _without_name(message, path)
        error(f"{display(path)}: {text}", console)
        reported.append((display(path), text))
    return reported


def _without_name(message: str, path: Path) -> str:
    """Errors and warnings about a file often begin with its name already."""
    return message.removeprefix(f"{display(path)}: ")


def _short(path: Path) -> str:
    name = display(path.name)
    return name if len(name) <= 32 else f"{name[:15]}...{name[-14:]}"


@contextmanager
def warnings_of(path: Path, console: Console | None = None) -> Iterator[None]:
    """Shows the warnings that lic_fast gives, such as a reduced bit depth, as one line each.

    Warnings from elsewhere are for programmers; they are dropped.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                if issubclass(warning.category, UserWarning) and _is_ours(warning.filename):
                    message = _without_name(display(str(warning.message)), path)
                    warn(f"{display(path)}: {message}", console)


def _is_ours(filename: str) -> bool:
    package = Path(__file__).resolve().parents[1]
    return Path(filename).resolve().is_relative_to(package)


def print_table(table: Table) -> None:
    """Prints a table on standard output, unfolded if that is no terminal."""
    from rich.console import Console

    console = Console()
    # A file or a pipe has no width of its own to fold to.
    (console if console.is_terminal else Console(width=160)).print(table)


class OutputError(Exception):
    """Standard output takes no more: it is full or closed."""


class _Output(io.BufferedWriter):
    """Standard output's bytes, whose failures can be told from those of files."""

    def write(self, data: Any, /) -> int:
        with _failures():
            return super().write(data)

    def flush(self) -> None:
        with _failures():
            super().flush()


class _Closed(io.RawIOBase):
    """A standard output that was closed before the process began."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise OutputError(problem.strerror) from problem


@contextmanager
def checked_output() -> Iterator[None]:
    """Ends the process with one line and status 1 if standard output fails within.

    Without the line if a pipe was closed, as by ``head``: its reader has what it wanted.
    """
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(_Output(_Closed()), "utf-8")
    elif isinstance(sys.stdout, io.TextIOWrapper):
        encoding, by_line = sys.stdout.encoding, sys.stdout.line_buffering
        buffer: Any = sys.stdout.detach()
        raw = buffer.detach() if isinstance(buffer, io.BufferedWriter) else buffer
        sys.stdout = io.TextIOWrapper(_Output(raw), encoding, "replace", line_buffering=by_line)
    try:
        try:
            yield
        finally:
            # What is still in the buffer may be all of it.
            sys.stdout.flush()
    except OutputError as problem:
        # So that Python does not try to write the rest on its way out.
        sys.stdout = None
        if not isinstance(problem.__cause__, BrokenPipeError):
            error(f"standard output: {problem}")
        raise SystemExit(1) from None


def prepare_process() -> None:
    """Sets up standard error and warnings for a process that runs one command.

    A stream that cannot show a character shows a substitute instead of failing. Warnings
    of libraries, such as torch's deprecations, are not for the user of a command; Python's
    ``-W`` brings them back.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    reconfigure = getattr(sys.stderr, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
