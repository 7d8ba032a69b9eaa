"""``lic-fast eval``: rate, distortion and time over a folder of pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_fast.cli import report
from lic_fast.cli.console import expected_errors, fail, note, print_table, run_batch
from lic_fast.cli.files import PICTURE_SUFFIXES
from lic_fast.cli.options import (
    DeviceChoice,
    DeviceOption,
    InputPaths,
    MaxPixelsOption,
    ModelOption,
    OverwriteOption,
    PrecisionChoice,
    PrecisionOption,
    QuietOption,
)
from lic_fast.cli.paths import Source, collect
from lic_fast.cli.runtime import NamedModel, configuration, load_model, resolve_device
from lic_fast.cli.text import display

if TYPE_CHECKING:
    import numpy as np

__all__ = ["evaluate", "measure"]

TIMING = (
    "Wall clock, one run each after a warm-up run on the first picture. Encoding: 8-bit pixels "
    "in memory to the bytes of the .lic file; decoding: those bytes to 8-bit pixels. Reading and "
    "writing files is not included."
)
RATE = "bpp counts every byte of the .lic file, without ICC profile and EXIF data."


def measure(pixels: np.ndarray, named: NamedModel, name: str, max_pixels: int) -> report.Row:
    """Codes one picture to the bytes of a file and back.

    Args:
        pixels: uint8 (H, W, 3).
        named: The model.
        name: What to call the picture in the row.
        max_pixels: Bound given to the decoder.
    """
    from lic_fast import codec
    from lic_fast.codec import metrics

    start = time.perf_counter()
    data = codec.encode_image(pixels, named.model, model_name=named.name)
    encoded = time.perf_counter()
    decoded = codec.decode_image(data, named.model, max_pixels=max_pixels).pixels
    end = time.perf_counter()
    height, width = pixels.shape[:2]
    return report.Row(
        file=name,
        width=width,
        height=height,
        bytes=len(data),
        bpp=8 * len(data) / (width * height),
        psnr_db=float(metrics.psnr(pixels, decoded)),
        ms_ssim=float(metrics.ms_ssim(pixels, decoded)),
        encode_s=encoded - start,
        decode_s=end - encoded,
    )


def evaluate(
    paths: InputPaths,
    model: ModelOption = None,
    device: DeviceOption = DeviceChoice.auto,
    precision: PrecisionOption = PrecisionChoice.auto,
    json_out: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="FILE|-", help="Write JSON; - is standard output, without the table."
        ),
    ] = None,
    csv_out: Annotated[
        str | None,
        typer.Option(
            "--csv", metavar="FILE|-", help="Write CSV; - is standard output, without the table."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure a model on pictures: bpp of the real file, PSNR, MS-SSIM, time.

    Each picture is coded to bytes in memory and decoded from them. MS-SSIM is not defined
    for pictures with a side of 160 pixels or less: "-" in the table, null in JSON, empty in
    CSV, and left out of the mean. A bad file is reported and the rest goes on; the exit
    status is then 1.
    """
    outputs = [out for out in (json_out, csv_out) if out is not None]
    _check_outputs(outputs, overwrite)
    inputs = collect(paths, PICTURE_SUFFIXES, "pictures")

    from lic_fast import codec

    bound = codec.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    target_device = resolve_device(device)
    named = load_model(model, target_device, precision)
    warm = False

    def work(source: Source) -> report.Row:
        nonlocal warm
        pixels = codec.read_picture(source.path, max_pixels=bound).pixels
        name = display(source.relative)
        if not warm:
            measure(pixels, named, name, bound)
            warm = True
        return measure(pixels, named, name, bound)

    outcome = run_batch(
        inputs.sources,
        work,
        source=lambda source: source.path,
        title="evaluating",
        problems=inputs.problems,
        quiet=quiet,
    )
    rows = [row for _, row in outcome.done]
    mean = report.mean_of(rows)
    settings = configuration(named, target_device)
    if "-" not in outputs and not quiet and rows:
        title = f"{named.name} ({settings['architecture']}) on {settings['device_name']}"
        if target_device == "cpu":
            title += f", threads: {settings['threads']}"
        print_table(report.table(rows, mean, title, f"{RATE} {TIMING}"))
    settings |= {"rate": RATE, "timing": TIMING}
    _write(json_out, lambda: report.json_text(rows, mean, settings, outcome.failed), overwrite)
    _write(csv_out, lambda: report.csv_text(rows, mean), overwrite)
    if outcome.failed:
        note(f"{len(rows)} measured, {len(outcome.failed)} failed")
        raise typer.Exit(1)


def _check_outputs(outputs: list[str], overwrite: bool) -> None:
    """Refuses, before the work, what would fail or lose a file after it."""
    if outputs.count("-") > 1:
        fail("--json - and --csv - cannot both have standard output")
    files = [Path(out) for out in outputs if out != "-"]
    if len({os.path.abspath(file) for file in files}) < len(files):
        fail("--json and --csv name the same file")
    for file in files:
        if file.is_dir():
            fail(f"{display(file)} is a folder; name a file")
        if not overwrite and os.path.lexists(file):
            fail(f"{display(file)} exists already; --overwrite replaces it", status=1)


def _write(out: str | None, text: Callable[[], str], overwrite: bool) -> None:
    if out == "-":
        typer.echo(text(), nl=False)
    elif out is not None:
        from lic_fast import codec

        with expected_errors():
            codec.write_bytes_atomically(Path(out), text().encode(), overwrite=overwrite)
