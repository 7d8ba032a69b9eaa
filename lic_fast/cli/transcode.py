"""``lic-fast compress`` and ``lic-fast decompress``."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from lic_fast.cli.console import Outcome, fail, note, run_batch
from lic_fast.cli.files import LIC_SUFFIX, PICTURE_SUFFIXES, read_lic
from lic_fast.cli.options import (
    DeviceChoice,
    DeviceOption,
    InputPaths,
    KeepSuffixOption,
    LayoutChoice,
    LayoutOption,
    MaxPixelsOption,
    ModelOption,
    OutOption,
    OverwriteOption,
    PictureFormat,
    PrecisionChoice,
    PrecisionOption,
    QuietOption,
)
from lic_fast.cli.paths import Inputs, Job, PlanError, collect, plan
from lic_fast.cli.runtime import ModelFinder, load_model, resolve_device
from lic_fast.cli.text import display, human_bytes, ratio, size_in_bytes
from lic_fast.codec.target import Target

__all__ = ["compress", "decompress"]


@dataclass(frozen=True)
class Coded:
    """What one picture became: its size in pixels and both files' sizes in bytes.

    The quality is None for a model of one rate, the PSNR unless it was asked for.
    """

    width: int
    height: int
    source_bytes: int
    coded_bytes: int
    quality: float | None
    psnr: float | None

    @property
    def bpp(self) -> float:
        """Bits of the whole file for each pixel."""
        return 8 * self.coded_bytes / (self.width * self.height)

    def __str__(self) -> str:
        parts = [
            f"{self.width}x{self.height}",
            _shrinkage(self.source_bytes, self.coded_bytes),
            f"{self.bpp:.3f} bpp",
        ]
        if self.quality is not None:
            parts.append(f"quality {self.quality:g}")
        if self.psnr is not None:
            parts.append(f"{self.psnr:.2f} dB")
        return ", ".join(parts)


def compress(
    paths: InputPaths,
    out: OutOption = None,
    model: ModelOption = None,
    quality: Annotated[
        float | None,
        typer.Option(
            "--quality",
            metavar="1..100",
            help="100 is the best. For a model of many rates, as are --size, --bpp and --psnr; "
            "only one of them can be given. Default: 50.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="SIZE",
            help="The best quality whose whole file is not larger, such as 200kB; units are B, kB, "
            "KiB, MB and MiB.",
            show_default=False,
        ),
    ] = None,
    bpp: Annotated[
        float | None,
        typer.Option(
            "--bpp",
            metavar="BITS",
            help="The best quality whose whole file has no more bits per pixel.",
            show_default=False,
        ),
    ] = None,
    psnr: Annotated[
        float | None,
        typer.Option(
            "--psnr",
            metavar="DB",
            help="The smallest file whose decoded picture has this PSNR at least.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = DeviceChoice.auto,
    precision: PrecisionOption = PrecisionChoice.auto,
    strip: Annotated[
        bool, typer.Option("--strip", help="Leave out the ICC profile and the EXIF data.")
    ] = False,
    layout: LayoutOption = LayoutChoice.lanes,
    overwrite: OverwriteOption = False,
    keep_suffix: KeepSuffixOption = False,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compress pictures (PNG, JPEG, WebP, TIFF, BMP) to .lic files.

    A bad file is reported and the rest goes on; the exit status is then 1. So it is with a
    picture of which no quality makes a file so small, or so faithful a picture, as is asked for.
    """
    target = _target(quality, size, bpp, psnr)
    inputs = collect(paths, PICTURE_SUFFIXES, "pictures")
    jobs = _plan(inputs, out, LIC_SUFFIX, keep_suffix, _wrong_lic_name)

    from lic_fast import codec

    bound = codec.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    target_device = resolve_device(device)
    named = load_model(model, target_device, precision)
    for option, _ in target.given():
        named.refuse_one_rate(f"--{option}")

    def work(job: Job) -> Coded:
        _refuse_existing(job.target, overwrite)
        picture = codec.read_picture(job.source, max_pixels=bound)
        encoded = codec.encode_to_target(
            picture.pixels,
            named.model,
            target,
            icc_profile=None if strip else picture.icc_profile,
            exif=None if strip else picture.exif,
            model_name=named.name,
            layout=layout.value,
        )
        _make_folder(job.target)
        codec.write_bytes_atomically(job.target, encoded.data, overwrite=overwrite)
        height, width = picture.pixels.shape[:2]
        source_bytes, coded_bytes = job.source.stat().st_size, len(encoded.data)
        return Coded(width, height, source_bytes, coded_bytes, encoded.quality, encoded.psnr)

    outcome = run_batch(
        jobs,
        work,
        source=lambda job: job.source,
        title="compressing",
        problems=inputs.problems,
        quiet=quiet,
    )
    if not quiet:
        for job, coded in outcome.done if inputs.single or target.searched else ():
            typer.echo(f"{display(job.source)} -> {display(job.target)}: {coded}")
        if not inputs.single:
            before = sum(coded.source_bytes for _, coded in outcome.done)
            after = sum(coded.coded_bytes for _, coded in outcome.done)
            pixels = sum(coded.width * coded.height for _, coded in outcome.done)
            summary = _summary(outcome, "compressed")
            if pixels:
                summary += f", {_shrinkage(before, after)}, {8 * after / pixels:.3f} bpp"
            note(summary)
    _finish(outcome)


def decompress(
    paths: InputPaths,
    out: OutOption = None,
    picture_format: Annotated[
        PictureFormat | None,
        typer.Option(
            "--format",
            "-f",
            help="Format of the pictures. Default: that of OUT's suffix if OUT is a file, "
            "else png.",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            "--quality",
            min=1,
            max=100,
            help="Of JPEG (default 95) and WebP files (default lossless).",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = DeviceChoice.auto,
    precision: PrecisionOption = PrecisionChoice.auto,
    overwrite: OverwriteOption = False,
    keep_suffix: KeepSuffixOption = False,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Decompress .lic files to pictures.

    Without --model, each file is decoded with the zoo's model that it was written with.
    A bad file is reported and the rest goes on; the exit status is then 1.
    """
    inputs = collect(paths, [LIC_SUFFIX], f"{LIC_SUFFIX} files")
    suffix = f".{(picture_format or PictureFormat.png).value}"
    wrong_name = partial(_wrong_picture_name, picture_format=picture_format)
    jobs = _plan(inputs, out, suffix, keep_suffix, wrong_name)
    lossless = {job.target.suffix.lower() for job in jobs} - {".jpg", ".jpeg", ".webp"}
    if quality is not None and lossless:
        fail(f"--quality is for JPEG and WebP files, not {', '.join(sorted(lossless))}")

    from lic_fast import codec

    bound = codec.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    target_device = resolve_device(device)
    given = load_model(model, target_device, precision) if model is not None else None
    finder = ModelFinder(given, target_device, precision)

    def work(job: Job) -> None:
        _refuse_existing(job.target, overwrite)
        data = read_lic(job.source)
        chosen = finder.find(codec.unpack(data, max_pixels=bound))
        picture = codec.decode_image(data, chosen, max_pixels=bound)
        _make_folder(job.target)
        codec.write_picture(job.target, picture, overwrite=overwrite, quality=quality)

    outcome = run_batch(
        jobs,
        work,
        source=lambda job: job.source,
        title="decompressing",
        problems=inputs.problems,
        quiet=quiet,
    )
    if not quiet:
        for job, _ in outcome.done if inputs.single else ():
            typer.echo(display(job.target))
        if not inputs.single:
            note(_summary(outcome, "decompressed"))
    _finish(outcome)


def _target(
    quality: float | None, size: str | None, bpp: float | None, psnr: float | None
) -> Target:
    """From the options; ends the command with status 2 if they make no sense."""
    given = {"quality": quality, "size": size, "bpp": bpp, "psnr": psnr}
    options = [f"--{name}" for name, value in given.items() if value is not None]
    if len(options) > 1:
        fail(f"{' and '.join(options)}: only one of {', '.join(f'--{name}' for name in given)}")
    try:
        whole = None if size is None else size_in_bytes(size)
        return Target(quality=quality, size=whole, bpp=bpp, psnr=psnr)
    except ValueError as problem:
        fail(f"{' '.join(options)}: {problem}")


def _plan(
    inputs: Inputs,
    out: str | None,
    suffix: str,
    keep_suffix: bool,
    wrong_name: Callable[[Path], str | None],
) -> Sequence[Job]:
    try:
        return plan(inputs, out, suffix, keep_suffix=keep_suffix, wrong_name=wrong_name)
    except PlanError as problem:
        fail(str(problem))


def _wrong_lic_name(path: Path) -> str | None:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return f"a {LIC_SUFFIX} file under a picture's suffix would deceive; use {LIC_SUFFIX}"
    return None


def _wrong_picture_name(path: Path, picture_format: PictureFormat | None) -> str | None:
    suffix = path.suffix.lower()
    known = ", ".join(PICTURE_SUFFIXES)
    if suffix not in PICTURE_SUFFIXES:
        return f"the suffix must be one of {known}"
    alike = {"jpeg": "jpg", "tiff": "tif"}
    stated = suffix.removeprefix(".")
    if picture_format is not None and alike.get(stated, stated) != alike.get(
        picture_format.value, picture_format.value
    ):
        return f"the suffix contradicts --format {picture_format.value}"
    return None


def _refuse_existing(target: Path, overwrite: bool) -> None:
    # Writing checks again, without a race; this check only saves the work.
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "exists already; --overwrite replaces it", str(target))


def _make_folder(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)


def _shrinkage(before: int, after: int) -> str:
    return f"{human_bytes(before)} -> {human_bytes(after)} ({ratio(before, after)} smaller)"


def _summary(outcome: Outcome[Job, Any], verb: str) -> str:
    failed = f", {len(outcome.failed)} failed" if outcome.failed else ""
    return f"{len(outcome.done)} {verb}{failed}"


def _finish(outcome: Outcome[Job, Any]) -> None:
    if outcome.failed:
        raise typer.Exit(1)
