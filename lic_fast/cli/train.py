"""``lic-fast train``: a recipe and photographs to a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lic_fast.cli.console import (
    error_console,
    expected_errors,
    fail,
    note,
    progress_bar,
    warn,
)
from lic_fast.cli.options import DeviceChoice, DeviceOption, QuietOption
from lic_fast.cli.paths import collect_pictures
from lic_fast.cli.text import display

if TYPE_CHECKING:
    from lic_fast.training import Job, Recipe

__all__ = ["train"]


def train(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PHOTOS...",
            help="Photographs to train on, or folders of them.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="RECIPE.toml",
            help="What to train, and how; recipes/ has some.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="The run's.", show_default=False),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", metavar="N", help="Length of the run, instead of the recipe's."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", help="The same in steps."),
    ] = None,
    validate: Annotated[
        list[Path] | None,
        typer.Option(
            "--validate",
            metavar="PATH",
            help="Photographs to measure on, or folders of them. Can be given several times.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="CHECKPOINT",
            help="Start from these weights, published ones included, instead of random ones.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the last checkpoint in the run's folder."),
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Set a key of the recipe otherwise, as in loss.lambda=0.0035. Can be given "
            "several times.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="FOLDER",
            help="Keep decoded photographs here, for other runs too. Default: in the run's folder.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = DeviceChoice.auto,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, metavar="N", help="Of a CPU. Default: torch's choice."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Train a model on photographs, from scratch or from a checkpoint.

    Each report is one line; FOLDER/log.csv has them all. The run can be stopped (Ctrl-C) or
    killed at any moment, and goes on with --resume. Several GPUs: start it with
    `torchrun --nproc-per-node N -m lic_fast train ...` or `accelerate launch`.
    """
    if out is None:
        fail("-o FOLDER is missing: where the run goes")
    if resume and start is not None:
        fail("--resume goes on with a run, --from begins one: give one of them")
    if minutes is not None and steps is not None:
        fail("--minutes and --steps are two lengths of one run: give one of them")
    if not resume and (recipe is None or not photos):
        fail("a run needs --recipe and photographs")
    lengths = _length(minutes, steps)
    wanted = [*(changes or []), *lengths]
    found = collect_pictures(photos or [])
    measured = collect_pictures(validate or [])
    for path, reason in [*found.problems, *measured.problems]:
        fail(f"{display(path)}: {reason}", status=1)
    for option, file in (("--recipe", recipe), ("--from", start)):
        if file is not None and not os.path.isfile(file):
            fail(f"{option} {display(file)}: no such file", status=1)
    if os.path.lexists(out) and not os.path.isdir(out):
        fail(f"-o {display(out)} is no folder", status=1)

    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    with expected_errors():
        job = _job(
            out,
            recipe,
            wanted,
            [source.path for source in found.sources],
            [source.path for source in measured.sources] if validate else None,
            resume=resume,
            start=start,
            cache=cache,
            device=device.value,
        )
        _run(job, quiet)


def _length(minutes: float | None, steps: int | None) -> list[str]:
    """Changes of the recipe that make the run so long."""
    if minutes is not None:
        return [f"schedule.minutes={minutes!r}", "schedule.steps=0"]
    if steps is not None:
        return [f"schedule.steps={steps}", "schedule.minutes=0"]
    return []


def _job(
    folder: Path,
    recipe: Path | None,
    changes: list[str],
    pictures: list[Path],
    validation: list[Path] | None,
    *,
    resume: bool,
    **rest: Any,
) -> Job:
    from lic_fast.training import Job, read_recipe

    if not resume:
        assert recipe is not None
        read = read_recipe(recipe, changes)
        return Job(folder, read, pictures, validation or [], **rest)
    saved = _saved(folder)
    return Job(
        folder,
        read_recipe(recipe, changes) if recipe is not None else _kept(saved, changes, folder),
        pictures or [Path(path) for path in saved["pictures"]],
        [Path(path) for path in saved["validation"]] if validation is None else validation,
        resume=True,
        **rest,
    )


def _saved(folder: Path) -> dict[str, Any]:
    from lic_fast.training.checkpoint import read_checkpoint

    return read_checkpoint(folder)


def _kept(saved: dict[str, Any], changes: list[str], folder: Path) -> Recipe:
    """The recipe that the run began with, with changes."""
    from lic_fast.training.checkpoint import NAME
    from lic_fast.training.recipe import Recipe, changed

    return Recipe.from_tables(changed(saved["recipe"], changes), os.fspath(folder / NAME))


def _run(job: Job, quiet: bool) -> None:
    from lic_fast.training import train as run

    with _shown(job, quiet) as reporter:
        outcome = run(job, reporter)
    if not _first():
        return
    if not outcome.finished:
        note(
            f"stopped after step {outcome.step}; go on with "
            f"lic-fast train --resume -o {display(job.folder)}"
        )
        raise typer.Exit(128 + outcome.signal if outcome.signal else 1)
    for path in outcome.files:
        typer.echo(display(path))


def _first() -> bool:
    """Whether this is the first of the processes that a launcher has started."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def _shown(job: Job, quiet: bool) -> Iterator[Any]:
    """A reporter that prints lines on standard error, and draws a progress bar on a terminal."""
    from lic_fast.training import Reporter

    console = error_console()
    bar = progress_bar(console, hidden=quiet or not _first())
    length = job.recipe.schedule
    metric = job.recipe.loss.metric

    class Lines(Reporter):
        tasks: Any = {}  # noqa: RUF012

        def note(self, message: str) -> None:
            if not quiet:
                note(display(message), console)

        def warn(self, message: str) -> None:
            warn(display(message), console)

        def working(self, what: str, done: int, total: int) -> None:
            if what not in self.tasks:
                self.tasks[what] = bar.add_task(what, total=total)
            bar.update(self.tasks[what], completed=done, total=total, visible=done < total)

        def row(self, row: Mapping[str, float]) -> None:
            if not quiet:
                note(_line(row, metric), console)

        def progress(self, share: float, step: int) -> None:
            total = length.steps or round(60 * length.minutes)
            what = "steps" if length.steps else "seconds"
            self.working(what, step if length.steps else round(share * total), total)

    lines = Lines()
    lines.tasks = {}
    with bar:
        yield lines


def _line(row: Mapping[str, float], metric: str) -> str:
    """A report in one line."""
    from math import log10

    parts = [f"step {row['step']:.0f}", f"{row['minutes']:.1f} min", f"lr {row['lr']:.2e}"]
    if "loss" in row:
        parts += [f"loss {row['loss']:.4f}", f"bpp {row['bpp']:.4f}"]
        distortion = row["distortion"]
        if metric == "mse":
            parts.append(f"PSNR {-10 * log10(max(distortion, 1e-12)):.2f} dB")
        else:
            parts.append(f"MS-SSIM {distortion:.4f}")
        parts.append(f"gradient {row['gradient_norm']:.3g}")
    if "steps_per_second" in row:
        parts.append(f"{row['steps_per_second']:.2f} steps/s")
    if row["skipped"]:
        parts.append(f"{row['skipped']:.0f} skipped")
    if "validation_bpp" in row:
        parts.append(f"validation {row['validation_bpp']:.4f} bpp {row['validation_psnr']:.2f} dB")
    return ", ".join(parts)
