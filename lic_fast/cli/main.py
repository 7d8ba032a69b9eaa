"""The ``lic-fast`` command."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated, NoReturn

import typer

import lic_fast
from lic_fast.cli.console import prepare_process
from lic_fast.cli.demo import demo
from lic_fast.cli.evaluate import evaluate
from lic_fast.cli.export import export
from lic_fast.cli.info import info
from lic_fast.cli.memory import keep_freed_memory
from lic_fast.cli.train import train
from lic_fast.cli.transcode import compress, decompress
from lic_fast.cli.zoo import models

__all__ = ["app", "main"]

app = typer.Typer(
    name="lic-fast",
    help="Learned image compression: pictures to small .lic files and back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lic-fast {lic_fast.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


app.command()(compress)
app.command()(decompress)
app.command()(info)
app.command("eval")(evaluate)
app.command()(demo)
app.command()(export)
app.command()(train)
app.command()(models)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


def main() -> None:
    """Runs the command line and exits with its status."""
    prepare_process()
    keep_freed_memory()
    # As an exception, so that a temporary file is removed on the way out.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
