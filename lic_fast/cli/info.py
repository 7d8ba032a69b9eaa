"""``lic-fast info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lic_fast.cli.console import report, run_batch
from lic_fast.cli.files import LIC_SUFFIX, read_lic
from lic_fast.cli.options import InputPaths
from lic_fast.cli.paths import Source, collect
from lic_fast.cli.text import display, human_bytes
from lic_fast.errors import StreamError
from lic_fast.stream_layout import StreamLayout

if TYPE_CHECKING:
    from lic_fast.codec.container import Container

__all__ = ["info"]


def info(
    paths: InputPaths,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, one object for each file.")
    ] = False,
) -> None:
    """Print what .lic files say of themselves; no model is needed.

    A bad file is reported and the rest goes on; the exit status is then 1.
    """
    inputs = collect(paths, [LIC_SUFFIX], f"{LIC_SUFFIX} files")
    failed = report(inputs.problems)

    from lic_fast.codec.container import unpack

    def work(source: Source) -> dict[str, Any]:
        data = read_lic(source.path)
        # No pixel is decoded here, so no bound on them is needed.
        return describe(source.path, len(data), unpack(data, max_pixels=2**62))

    outcome = run_batch(
        inputs.sources,
        work,
        source=lambda source: source.path,
        title="reading",
        failed=failed,
    )
    described = [values for _, values in outcome.done]
    if as_json:
        typer.echo(json.dumps(described, indent=2))
    else:
        typer.echo("\n\n".join(_as_text(values) for values in described), nl=bool(described))
    if outcome.failed:
        raise typer.Exit(1)


def describe(path: Path, size: int, container: Container) -> dict[str, Any]:
    """What a file's container says, as JSON can hold it; sizes in bytes, lengths in pixels."""

    def length(payload: bytes | None) -> int | None:
        return None if payload is None else len(payload)

    return {
        "file": display(path),
        "bytes": size,
        "width": container.width,
        "height": container.height,
        "bpp": 8 * size / (container.width * container.height),
        "padding": dict(zip(("left", "top", "right", "bottom"), container.padding, strict=True)),
        "model": container.model_name,
        "fingerprint": container.fingerprint.hex(),
        "portable": container.portable,
        "layout": container.layout.name.lower(),
        "quality": container.quality,
        "z_shape": list(container.z_shape),
        "y_bytes": len(container.y),
        "z_bytes": len(container.z),
        "y_substreams": _substreams(container),
        "symbols_crc32": f"{container.symbols_checksum:08x}",
        "srgb": container.srgb,
        "icc_profile_bytes": length(container.icc_profile),
        "exif_bytes": length(container.exif),
        "other_sections": {str(kind): len(data) for kind, data in container.other_sections},
    }


def _plural(substreams: int | None) -> str:
    return f", {substreams} substreams" if substreams is not None and substreams > 1 else ""


def _substreams(container: Container) -> int | None:
    """How many threads can decode y; None if the header of its stream is damaged."""
    if container.layout is not StreamLayout.LANES:
        return 1
    from lic_fast import rans

    try:
        return rans.inspect(container.y).substreams
    except StreamError:
        return None


def _as_text(values: dict[str, Any]) -> str:
    width, height, padding = values["width"], values["height"], values["padding"]
    padded_width = padding["left"] + width + padding["right"]
    padded_height = padding["top"] + height + padding["bottom"]
    rows, columns = values["z_shape"]
    quality = "the model's one rate" if values["quality"] is None else f"{values['quality']:g}"
    portable = "yes" if values["portable"] else "no: made to be decoded on the same kind of machine"
    metadata = ["sRGB profile"] if values["srgb"] else []
    metadata += [
        f"{name} {human_bytes(values[key])}"
        for name, key in (("ICC profile", "icc_profile_bytes"), ("EXIF", "exif_bytes"))
        if values[key] is not None
    ]
    metadata += [
        f"section {kind} (unknown) {human_bytes(size)}"
        for kind, size in values["other_sections"].items()
    ]
    lines = {
        "picture": f"{width}x{height}, coded as {padded_width}x{padded_height}",
        "size": f"{values['bytes']} bytes, {values['bpp']:.3f} bpp",
        "model": f"{display(values['model']) or 'not named'}, fingerprint {values['fingerprint']}",
        "quality": quality,
        "streams": f"y {values['y_bytes']} bytes, z {values['z_bytes']} bytes "
        f"({rows}x{columns}), layout {values['layout']}{_plural(values['y_substreams'])}",
        "symbols": f"CRC-32 {values['symbols_crc32']}",
        "portable": portable,
        "metadata": ", ".join(metadata) or "none",
    }
    return "\n".join(
        [values["file"], *(f"  {heading:<10}{text}" for heading, text in lines.items())]
    )
