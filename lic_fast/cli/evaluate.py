"""``lic-fast eval``: rate, distortion and time over a folder of pictures."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_fast.cli import report
from lic_fast.cli.anchors import ANCHORS, why_not
from lic_fast.cli.compare import AnchorCurves, closeups, worst
from lic_fast.cli.console import (
    expected_errors,
    fail,
    note,
    print_table,
    progress_bar,
    run_batch,
    warn,
    warnings_of,
)
from lic_fast.cli.console import report as report_problems
from lic_fast.cli.curves import Curve, Point
from lic_fast.cli.files import check_output
from lic_fast.cli.options import (
    DeviceChoice,
    DeviceOption,
    InputPaths,
    MaxPixelsOption,
    OverwriteOption,
    PrecisionChoice,
    PrecisionOption,
    QuietOption,
)
from lic_fast.cli.page import Evaluated, html_text
from lic_fast.cli.paths import Source, collect_pictures
from lic_fast.cli.references import is_kodak, references
from lic_fast.cli.runtime import NamedModel, check_model, configuration, load_model, resolve_device
from lic_fast.cli.text import display

if TYPE_CHECKING:
    import numpy as np

__all__ = ["evaluate", "measure"]

TIMING = (
    "Wall clock, one run each after a warm-up run on the first picture. Encoding: 8-bit pixels "
    "in memory to the bytes of the .lic file; decoding: those bytes to 8-bit pixels. Reading and "
    "writing files is not included."
)
QUALITIES = (1.0, 20.0, 40.0, 60.0, 80.0, 100.0)
"""Those at which a model with gains is measured unless others are asked for."""

RATE = "bpp counts every byte of the .lic file, without ICC profile and EXIF data."


def measure(
    pixels: np.ndarray,
    named: NamedModel,
    name: str,
    max_pixels: int,
    quality: float | None = None,
) -> report.Row:
    """Codes one picture to the bytes of a file and back.

    Args:
        pixels: uint8 (H, W, 3).
        named: The model.
        name: What to call the picture in the row.
        max_pixels: Bound given to the decoder.
        quality: Of a model with gains.
    """
    from lic_fast import codec
    from lic_fast.codec import metrics

    start = time.perf_counter()
    data = codec.encode_image(pixels, named.model, quality=quality, model_name=named.name)
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
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            metavar="[CURVE=]NAME|PATH",
            help="A model or a family of the zoo, or a checkpoint's path. Can be given several "
            "times; models of the same CURVE are points of one, as those of a family are. "
            "Default: the zoo's default.",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        list[float] | None,
        typer.Option(
            "--quality",
            metavar="1..100",
            help="A quality of models of many rates, which are points of one curve. Can be given "
            f"several times. Default: {', '.join(f'{quality:g}' for quality in QUALITIES)}.",
            show_default=False,
        ),
    ] = None,
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
    html_out: Annotated[
        str | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write a page with curves, other codecs and the worst pictures.",
        ),
    ] = None,
    anchors: Annotated[
        str,
        typer.Option(
            "--anchors",
            metavar="NAMES|none",
            help="Codecs of the page to compare with, separated by commas; the last one that is "
            "installed is the one that the worst pictures are compared with.",
        ),
    ] = ",".join(ANCHORS),
    overwrite: OverwriteOption = False,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure models on pictures: bpp of the real file, PSNR, MS-SSIM, time.

    Each picture is coded to bytes in memory and decoded from them. MS-SSIM is not defined
    for pictures with a side of 160 pixels or less: "-" in the table, null in JSON, empty in
    CSV, and left out of the mean. A bad file is reported and the rest goes on; the exit
    status is then 1.
    """
    outputs = {"--json": json_out, "--csv": csv_out, "--html": html_out}
    _check_outputs(outputs, overwrite)
    qualities = _qualities(quality)
    compared, absent = _anchors(anchors) if html_out is not None else ([], [])
    inputs = collect_pictures(paths)
    unusable = report_problems(inputs.problems)
    if not inputs.sources and json_out is None and csv_out is None:
        raise typer.Exit(1)

    from lic_fast import codec

    bound = codec.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    models: Sequence[tuple[str | None, str | None]] = _chosen(model) if model else [(None, None)]
    for _, name in models:
        check_model(name)
    target_device = resolve_device(device)
    names = _names(inputs.sources)
    files = {name: path for path, name in names.items()}

    def read(name: str) -> np.ndarray:
        return codec.read_picture(files[name], max_pixels=bound).pixels

    evaluated: list[Evaluated] = []
    failures = 0
    for curve, name in models:
        named = load_model(name, target_device, precision)
        own = _own_qualities(named, qualities, only=len(models) == 1)
        rows, failed = _rows(named, own, inputs.sources, unusable, names, read, bound, quiet)
        failures += len(failed)
        settings = configuration(named, target_device) | {"rate": RATE, "timing": TIMING}
        for each, of_quality in zip(own, rows, strict=True):
            evaluated.append(Evaluated(curve or named.name, of_quality, settings, failed, each))
            if "-" in outputs.values() or quiet or not of_quality:
                continue
            title = f"{evaluated[-1].label} ({settings['architecture']}) on "
            title += settings["device_name"]
            if target_device == "cpu":
                title += f", threads: {settings['threads']}"
            mean = report.mean_of(of_quality)
            print_table(report.table(of_quality, mean, title, f"{RATE} {TIMING}"))
    _write(json_out, lambda: report.json_text([each.document() for each in evaluated]), overwrite)
    _write(csv_out, lambda: report.csv_text([each.table() for each in evaluated]), overwrite)
    if html_out is not None and any(each.rows for each in evaluated):
        measured = AnchorCurves(compared)
        # Of the last model, at the middle of its qualities.
        shown = evaluated[-1 - len(own) // 2]
        _measure_anchors(measured, shown.rows, read, quiet)

        def decoded(pixels: np.ndarray) -> np.ndarray:
            data = codec.encode_image(pixels, named.model, quality=shown.quality)
            return codec.decode_image(data, named.model, max_pixels=bound).pixels

        text = html_text(
            [each for each in evaluated if each.rows],
            [*_curves(evaluated), *measured.curves(), *_references(files)],
            closeups(worst(shown.rows, measured), measured, read, decoded, shown.label),
            [f"{RATE} {TIMING}", *absent],
        )
        _write(html_out, lambda: text, overwrite)
    if failures:
        note(f"{sum(len(each.rows) for each in evaluated)} measured, {failures} failed")
        raise typer.Exit(1)


def _rows(
    named: NamedModel,
    qualities: Sequence[float | None],
    sources: Sequence[Source],
    unusable: Sequence[tuple[str, str]],
    names: dict[Path, str],
    read: Callable[[str], np.ndarray],
    bound: int,
    quiet: bool,
) -> tuple[list[list[report.Row]], list[tuple[str, str]]]:
    """What a model gives at each quality on every picture, and what failed."""
    warm = False

    def work(source: Source) -> list[report.Row]:
        nonlocal warm
        name = names[source.path]
        pixels = read(name)
        if not warm:
            measure(pixels, named, name, bound)
            warm = True
        return [measure(pixels, named, name, bound, quality) for quality in qualities]

    outcome = run_batch(
        sources,
        work,
        source=lambda source: source.path,
        title="evaluating",
        failed=unusable,
        quiet=quiet,
    )
    done = [rows for _, rows in outcome.done]
    return [[rows[i] for rows in done] for i in range(len(qualities))], outcome.failed


def _qualities(given: Sequence[float] | None) -> list[float]:
    """Those that were asked for, each once; ends the command with status 2 if one is none."""
    from lic_fast.codec.target import Target

    try:
        targets = [Target(quality=quality) for quality in given or ()]
    except ValueError as problem:
        fail(f"--quality: {problem}")
    return sorted({target.quality for target in targets if target.quality is not None})


def _own_qualities(
    named: NamedModel, qualities: Sequence[float], *, only: bool
) -> Sequence[float | None]:
    """At which a model is measured; None stands for the one rate of a model without gains."""
    if named.model.anchor_qualities:
        return qualities or QUALITIES
    if qualities and only:
        named.refuse_one_rate("--quality")
    if qualities:
        warn(f"{display(named.name)} has no gains: --quality does not concern it")
    return [None]


def _names(sources: Sequence[Source]) -> dict[Path, str]:
    """What to call each picture: its place in its folder, or the whole path if two share that."""
    short = Counter(display(source.relative) for source in sources)
    return {
        source.path: display(source.relative)
        if short[display(source.relative)] == 1
        else display(source.path)
        for source in sources
    }


def _measure_anchors(
    measured: AnchorCurves,
    rows: Sequence[report.Row],
    read: Callable[[str], np.ndarray],
    quiet: bool,
) -> None:
    """Other codecs on the pictures that the model could code."""
    with progress_bar(hidden=quiet or not measured.names) as progress:
        task = progress.add_task("other codecs", total=len(rows))
        for row in rows if measured.names else ():
            measured.measure(row.file, read(row.file))
            progress.advance(task)


def _chosen(choices: Sequence[str]) -> list[tuple[str | None, str]]:
    """Curve and model of each ``--model``, families as their models."""
    from lic_fast import zoo

    families = zoo.families()
    return [
        (curve or (name if name in families else None), member)
        for curve, name in map(_curve_and_model, choices)
        for member in families.get(name, [name])
    ]


def _curve_and_model(choice: str) -> tuple[str | None, str]:
    """The two parts of ``--model``; a file whose name has an equals sign is one."""
    if "=" not in choice or os.path.exists(choice):
        return None, choice
    curve, _, name = choice.partition("=")
    if not curve or not name:
        fail(f"--model {display(choice)}: write CURVE=MODEL")
    return curve, name


def _curves(evaluated: Sequence[Evaluated]) -> list[Curve]:
    points: dict[str, list[Point]] = {}
    for each in evaluated:
        if each.rows:
            points.setdefault(each.curve, []).append(each.point())
    return [Curve(name, found, "model") for name, found in points.items()]


def _references(names: Iterable[str]) -> list[Curve]:
    """Published results, of pictures that they are about."""
    return references() if is_kodak(os.path.basename(name) for name in names) else []


def _anchors(given: str) -> tuple[list[str], list[str]]:
    """The anchors that can be measured, and sentences about those that cannot."""
    names = [] if given == "none" else [name.strip() for name in given.split(",")]
    unknown = [name for name in names if name not in ANCHORS]
    if unknown:
        fail(f"--anchors {display(unknown[0])}: there are {', '.join(ANCHORS)}, or none")
    reasons = {name: why_not(name) for name in names}
    return [name for name in names if reasons[name] is None], [
        f"{ANCHORS[name].title} is not compared: {reason}."
        for name, reason in reasons.items()
        if reason is not None
    ]


def _check_outputs(outputs: dict[str, str | None], overwrite: bool) -> None:
    """Refuses, before the work, what would fail or lose a file after it."""
    given = {option: out for option, out in outputs.items() if out is not None}
    if given.get("--html") == "-":
        fail("--html takes a file")
    to_standard_output = [option for option, out in given.items() if out == "-"]
    if len(to_standard_output) > 1:
        fail("--json - and --csv - cannot both have standard output")
    seen: dict[str, str] = {}
    for option, out in given.items():
        if out == "-":
            continue
        place = os.path.abspath(out)
        if place in seen:
            fail(f"{seen[place]} and {option} name the same file")
        seen[place] = option
        check_output(Path(out), overwrite)


def _write(out: str | None, text: Callable[[], str], overwrite: bool) -> None:
    if out == "-":
        typer.echo(text(), nl=False)
    elif out is not None:
        from lic_fast import codec

        with expected_errors(), warnings_of(Path(out)):
            codec.write_bytes_atomically(Path(out), text().encode(), overwrite=overwrite)
