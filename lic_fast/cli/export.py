"""``lic-fast export``: a trained checkpoint to a portable model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lic_fast.cli.console import expected_errors, fail, progress_bar, warn, warnings_of
from lic_fast.cli.files import check_output
from lic_fast.cli.options import OverwriteOption, QuietOption
from lic_fast.cli.paths import collect_pictures
from lic_fast.cli.runtime import check_model, load_model
from lic_fast.cli.text import display, human_bytes
from lic_fast.errors import LicFastError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["export"]

# Of each picture, from its centre: enough of it, in little time.
_SIDE = 512
_SUFFIX = ".safetensors"


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A checkpoint in floating point, or the name of such a model of the zoo.",
            show_default=False,
        ),
    ],
    calibrate: Annotated[
        list[Path],
        typer.Option(
            "--calibrate",
            metavar="PATH",
            help="Photographs, or folders of them, like those that will be coded. "
            "Can be given several times.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="MODEL.safetensors", help="The file.", show_default=False
        ),
    ],
    images: Annotated[
        int,
        typer.Option("--images", min=1, metavar="N", help="Take N of the photographs, evenly."),
    ] = 48,
    bits: Annotated[
        int,
        typer.Option(
            "--bits",
            metavar="14|7",
            help="Of activations in the mean and scale networks; 7 for a model that was trained "
            "for them.",
        ),
    ] = 14,
    float16: Annotated[
        bool,
        typer.Option(
            "--float16",
            help="Round the transforms' weights to float16, for a smaller file.",
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a portable model: its streams decode on every machine, bit for bit.

    The photographs show the ranges of what the networks compute; nothing is trained.
    """
    if not out.name.endswith(_SUFFIX):
        fail(f"-o {display(out)}: a model's name ends with {_SUFFIX}")
    if bits not in (7, 14):
        fail(f"--bits {bits}: it must be 7 or 14")
    check_output(out, overwrite)
    found = collect_pictures(calibrate)
    for path, reason in found.problems:
        warn(f"{display(path)}: {reason}")
    paths = [source.path for source in found.sources]
    paths = paths[:: max(1, len(paths) // images)][:images]
    if not paths:
        fail("--calibrate: no pictures")

    check_model(checkpoint)

    from lic_fast import codec
    from lic_fast.models.portable import largest_sums, make_portable, portable_file

    named = load_model(checkpoint, "cpu")
    if named.model.portable:
        fail(f"{display(checkpoint)} is portable already")
    started = time.perf_counter()
    with expected_errors(), _shown(quiet) as progress:
        pictures = [picture for path in paths if (picture := _read(path)) is not None]
        if not pictures:
            fail("--calibrate: none of the pictures can be read", status=1)
        try:
            model = make_portable(
                named.model, pictures, bits=bits, float16=float16, progress=progress
            )
        except ValueError as problem:
            fail(f"{display(checkpoint)}: {problem}", status=1)
        data = portable_file(model)
        with warnings_of(out):
            codec.write_bytes_atomically(out, data, overwrite=overwrite)
    if not quiet:
        sums = largest_sums(model)
        layer = max(sums, key=lambda name: sums[name])
        seconds = time.perf_counter() - started
        typer.echo(
            f"{display(out)}: {model.architecture}, portable, fingerprint "
            f"{model.fingerprint().hex()}, {human_bytes(len(data))}\n"
            f"{len(pictures)} pictures, {seconds:.0f} s; no sum of {len(sums)} integer layers "
            f"exceeds {sums[layer] / 2**31:.3f} of 2^31 ({layer})"
        )


def _read(path: Path) -> Tensor | None:
    """The picture's centre, (3, H, W) in [0, 1]; a warning and None for one that cannot be read."""
    import torch

    from lic_fast import codec

    try:
        pixels = codec.read_picture(path).pixels
    except (LicFastError, OSError) as problem:
        warn(f"{display(path)}: {display(str(problem))}")
        return None
    top, left = (max(0, side - _SIDE) // 2 for side in pixels.shape[:2])
    centre = pixels[top : top + _SIDE, left : left + _SIDE]
    return torch.from_numpy(centre.copy()).permute(2, 0, 1).float() / 255


@contextmanager
def _shown(quiet: bool) -> Iterator[Any]:
    """A callback for make_portable that draws a progress bar, where a terminal shows it."""
    if quiet:
        yield None
        return
    with progress_bar() as bar:
        tasks: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            # The covariances of a large model are gathered in several passes.
            bar.update(tasks[what], completed=done, total=total)

        yield told
