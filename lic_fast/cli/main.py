"""The ``lic-fast`` command."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

import lic_fast
from lic_fast.cli.console import checked_output, fail, prepare_process
from lic_fast.cli.demo import demo
from lic_fast.cli.evaluate import evaluate
from lic_fast.cli.export import export
from lic_fast.cli.info import info
from lic_fast.cli.train import train
from lic_fast.cli.transcode import compress, decompress
from lic_fast.cli.zoo import models
from lic_fast.errors import MissingTorchError
from lic_fast.lazy import torch_needed

__all__ = ["app", "main"]


class Command(TyperCommand):
    """A command that takes no empty texts, and says so in one line if it needs torch in vain.

    ``""`` is what a shell makes of a variable that is not set, and would become the current
    folder as a path.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        parsed: Any = self.make_parser(ctx).parse_args(args=list(args))
        given, _, order = parsed
        for parameter in order:
            value = given.get(parameter.name)
            if "" in (value if isinstance(value, list | tuple) else [value]):
                raise typer.BadParameter(
                    '"" is nothing (a variable of the shell that is not set?)', ctx, parameter
                )
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            with torch_needed(f"lic-fast {self.name}"):
                return super().invoke(ctx)
        except MissingTorchError as problem:
            fail(str(problem), 1)


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


app.command(cls=Command)(compress)
app.command(cls=Command)(decompress)
app.command(cls=Command)(info)
app.command("eval", cls=Command)(evaluate)
app.command(cls=Command)(demo)
app.command(cls=Command)(export)
app.command(cls=Command)(train)
app.command(cls=Command)(models)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


def main() -> None:
    """Runs the command line and exits with its status."""
    prepare_process()
    # As an exception, so that a temporary file is removed on the way out.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with checked_output():
            app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
