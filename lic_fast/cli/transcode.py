"""``lic-fast compress`` and ``lic-fast decompress``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from lic_fast.cli.console import Outcome, fail, note, report, run_batch
from lic_fast.cli.files import LIC_SUFFIX, is_whole_lic, read_lic
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
    PrecisionChoice,
    PrecisionOption,
    QuietOption,
    SkipExistingOption,
)
from lic_fast.cli.paths import Inputs, Job, PlanError, Sifted, collect, collect_pictures, plan, sift
from lic_fast.cli.runtime import ModelFinder, check_device, check_model, load_coder
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
    skip_existing: SkipExistingOption = False,
    keep_suffix: KeepSuffixOption = False,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compress pictures (PNG, JPEG, WebP, AVIF, TIFF, ...: all that Pillow reads) to .lic files.

    A bad file is reported and the rest goes on; the exit status is then 1. So it is with a
    picture of which no quality makes a file so small, or so faithful a picture, as is asked for.
    """
    target = _target(quality, size, bpp, psnr)
    inputs = collect_pictures(paths)
    jobs = _plan(inputs, out, LIC_SUFFIX, keep_suffix, _wrong_lic_name)
    found = _sift(jobs, overwrite, is_whole_lic if skip_existing else None)
    failed = report([*inputs.problems, *found.problems])
    if not found.todo:
        _finish(Outcome(failed=failed), found, "compressed", inputs.single, quiet)
        return

    from lic_fast import codec

    bound = codec.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    check_model(model)
    named = load_coder(model, device, precision)
    for option, _ in target.given():
        named.refuse_one_rate(f"--{option}")

    def work(job: Job) -> Coded:
        picture = codec.read_picture(job.source, max_pixels=bound)
        encoded = codec.encode_to_target(
            picture.pixels,
            named.coder,
            target,
            icc_profile=None if strip else picture.icc_profile,
            exif=None if strip else picture.exif,
            model_name=named.name,
            layout=layout.value,
        )
        _make_folder(job.target)
        codec.write_bytes_atomically(job.target, encoded.data, overwrite=job.overwrite)
        height, width = picture.pixels.shape[:2]
        source_bytes, coded_bytes = job.source.stat().st_size, len(encoded.data)
        return Coded(width, height, source_bytes, coded_bytes, encoded.quality, encoded.psnr)

    outcome = run_batch(
        found.todo,
        work,
        source=lambda job: job.source,
        title="compressing",
        failed=failed,
        quiet=quiet,
    )
    shown = not quiet and (inputs.single or target.searched)
    for job, coded in outcome.done if shown else ():
        typer.echo(f"{display(job.source)} -> {display(job.target)}: {coded}")
    before = sum(coded.source_bytes for _, coded in outcome.done)
    after = sum(coded.coded_bytes for _, coded in outcome.done)
    pixels = sum(coded.width * coded.height for _, coded in outcome.done)
    rate = f", {_shrinkage(before, after)}, {8 * after / pixels:.3f} bpp" if pixels else ""
    _finish(outcome, found, "compressed", inputs.single, quiet, rate)


def decompress(
    paths: InputPaths,
    out: OutOption = None,
    picture_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="png|jpg|webp|...",
            help="Format of the pictures, by its suffix: any that Pillow writes. Default: that of "
            "OUT's suffix if OUT is a file, else png.",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            "--quality",
            min=1,
            max=100,
            help="Of JPEG, AVIF and HEIC (default 95), WebP and JPEG XL files (default lossless).",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = DeviceChoice.auto,
    precision: PrecisionOption = PrecisionChoice.auto,
    overwrite: OverwriteOption = False,
    skip_existing: SkipExistingOption = False,
    keep_suffix: KeepSuffixOption = False,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Decompress .lic files to pictures.

    Without --model, each file is decoded with the zoo's model that it was written with.
    A bad file is reported and the rest goes on; the exit status is then 1.
    """
    inputs = collect(paths, [LIC_SUFFIX], f"{LIC_SUFFIX} files")
    suffix = f".{(picture_format or 'png').lower().removeprefix('.')}"
    wrong = _unwritable(suffix)
    if wrong is not None:
        fail(f"--format {display(picture_format or '')}: {wrong}")
    wrong_name = partial(_wrong_picture_name, suffix=suffix if picture_format else None)
    jobs = _plan(inputs, out, suffix, keep_suffix, wrong_name)

    from lic_fast import codec
    from lic_fast.codec.picture_output import takes_quality

    without = {job.target.suffix.lower() for job in jobs}
    without = {suffix for suffix in without if not takes_quality(suffix)}
    if quality is not None and without:
        fail(
            "--quality is for JPEG, WebP, AVIF, JPEG XL and HEIC files, not "
            + ", ".join(sorted(without))
        )
    bound = codec.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    is_whole = partial(codec.is_whole_picture, max_pixels=bound)
    found = _sift(jobs, overwrite, is_whole if skip_existing else None)
    failed = report([*inputs.problems, *found.problems])
    if not found.todo:
        _finish(Outcome(failed=failed), found, "decompressed", inputs.single, quiet)
        return
    check_model(model)
    check_device(device)
    given = load_coder(model, device, precision) if model is not None else None
    finder = ModelFinder(given, device, precision)

    def work(job: Job) -> None:
        data = read_lic(job.source)
        chosen = finder.find(codec.unpack(data, max_pixels=bound))
        picture = codec.decode_image(data, chosen, max_pixels=bound)
        _make_folder(job.target)
        codec.write_picture(job.target, picture, overwrite=job.overwrite, quality=quality)

    outcome = run_batch(
        found.todo,
        work,
        source=lambda job: job.source,
        title="decompressing",
        failed=failed,
        quiet=quiet,
    )
    for job, _ in outcome.done if inputs.single and not quiet else ():
        typer.echo(display(job.target))
    _finish(outcome, found, "decompressed", inputs.single, quiet)


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


def _sift(jobs: Sequence[Job], overwrite: bool, is_whole: Callable[[Path], bool] | None) -> Sifted:
    if overwrite and is_whole is not None:
        fail("--overwrite replaces what is there, --skip-existing keeps it: give one of them")
    return sift(jobs, overwrite=overwrite, is_whole=is_whole)


def _wrong_lic_name(path: Path) -> str | None:
    from lic_fast.codec.formats import is_picture_suffix

    suffix = path.suffix.lower()
    if suffix != LIC_SUFFIX and is_picture_suffix(suffix):
        return f"a {LIC_SUFFIX} file under a picture's suffix would deceive; use {LIC_SUFFIX}"
    return None


def _unwritable(suffix: str) -> str | None:
    from lic_fast.codec.formats import plugin_for, writable_format, writable_suffixes

    if writable_format(suffix) is not None:
        return None
    package = plugin_for(suffix)
    if package is not None:
        return f"takes the package {package}"
    return f"pictures are written here as {', '.join(writable_suffixes())}"


def _wrong_picture_name(path: Path, suffix: str | None) -> str | None:
    """What is wrong with a name, if anything; `suffix` is that of ``--format``."""
    from lic_fast.codec.formats import writable_format

    own = path.suffix.lower()
    if suffix is not None and writable_format(own) != writable_format(suffix):
        return f"the suffix contradicts --format {suffix.removeprefix('.')}"
    return _unwritable(own)


def _make_folder(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)


def _shrinkage(before: int, after: int) -> str:
    return f"{human_bytes(before)} -> {human_bytes(after)} ({ratio(before, after)} smaller)"


def _finish(
    outcome: Outcome[Job, Any],
    found: Sifted,
    verb: str,
    single: bool,
    quiet: bool,
    more: str = "",
) -> None:
    """Prints the summary of a batch, and ends the command with status 1 if something failed."""
    skipped = len(found.skipped)
    if single and skipped:
        summary = f"{display(found.skipped[0].target)} is whole already, skipped"
    else:
        summary = f"{len(outcome.done)} {verb}" + (f", {skipped} skipped" if skipped else "")
        summary += (f", {len(outcome.failed)} failed" if outcome.failed else "") + more
    if not quiet and (skipped or not single):
        note(summary)
    if outcome.failed:
        raise typer.Exit(1)
