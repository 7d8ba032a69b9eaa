"""The rows of ``lic-fast eval``, their mean, and both as a table, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Mean", "Row", "csv_text", "document", "json_text", "mean_of", "table"]


@dataclass(frozen=True)
class Row:
    """What one image gave.

    Attributes:
        file: The image's name, as it is to be shown.
        width: In pixels.
        height: In pixels.
        bytes: Length of the whole ``.lic`` file.
        bpp: Bits of the whole file for each pixel.
        psnr_db: Over all three channels of the 8-bit pictures, in dB; infinite if equal.
        ms_ssim: Of the 8-bit pictures; NaN where the picture is too small for it.
        encode_s: Wall-clock seconds from pixels to the file's bytes.
        decode_s: Wall-clock seconds from the file's bytes to pixels.
    """

    file: str
    width: int
    height: int
    bytes: int
    bpp: float
    psnr_db: float
    ms_ssim: float
    encode_s: float
    decode_s: float


@dataclass(frozen=True)
class Mean:
    """Means over images, each image counting the same; NaN where no image has a finite value."""

    bytes: float
    bpp: float
    psnr_db: float
    ms_ssim: float
    encode_s: float
    decode_s: float


def mean_of(rows: Sequence[Row]) -> Mean:
    """The means of `rows`; values that are not finite are left out of theirs."""

    def mean(name: str) -> float:
        finite = [v for v in (float(getattr(row, name)) for row in rows) if math.isfinite(v)]
        return math.fsum(finite) / len(finite) if finite else math.nan

    return Mean(**{f.name: mean(f.name) for f in fields(Mean)})


def _number(value: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else "inf"


def table(rows: Sequence[Row], mean: Mean, title: str, caption: str) -> Table:
    """A rich table: one line for each image, the mean in the footer."""
    from rich.table import Table
    from rich.text import Text

    result = Table(
        title=Text(title), caption=Text(caption, style="dim"), caption_justify="left", expand=False
    )
    measured = [
        ("bytes", 0, "bytes"),
        ("bpp", 4, "bpp"),
        ("PSNR dB", 3, "psnr_db"),
        ("MS-SSIM", 5, "ms_ssim"),
        ("encode s", 3, "encode_s"),
        ("decode s", 3, "decode_s"),
    ]
    result.show_footer = True
    footers = [_number(getattr(mean, name), digits) for _, digits, name in measured]
    result.add_column("image", footer="mean", overflow="fold")
    result.add_column("size", footer=f"{len(rows)} images", no_wrap=True)
    for (heading, _, _), footer in zip(measured, footers, strict=True):
        result.add_column(heading, footer=footer, justify="right", no_wrap=True)
    for row in rows:
        cells = [_number(float(getattr(row, name)), digits) for _, digits, name in measured]
        # As Text, because a file's name may look like markup.
        result.add_row(Text(row.file), f"{row.width}x{row.height}", *cells)
    return result


def document(
    rows: Sequence[Row],
    mean: Mean,
    configuration: dict[str, Any],
    failed: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """What JSON says of a model; null stands for values that are not finite."""
    return {
        "configuration": configuration,
        "images": [_finite_or_null(asdict(row)) for row in rows],
        "mean": _finite_or_null(asdict(mean)),
        "failed": [{"file": name, "error": message} for name, message in failed],
    }


def json_text(documents: Sequence[dict[str, Any]]) -> str:
    """A document of :func:`document`, or several under "models"."""
    whole = documents[0] if len(documents) == 1 else {"models": list(documents)}
    return json.dumps(whole, indent=2, allow_nan=False) + "\n"


def _finite_or_null(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def csv_text(models: Sequence[tuple[str, float | None, Sequence[Row], Mean]]) -> str:
    """CSV with a header, a line for each image and one "mean" of each model; empty for NaN.

    Of several models, or qualities of one, the first columns are model and quality.

    Args:
        models: Name, quality or None, rows and means of each.
    """
    names = [f.name for f in fields(Row)]
    several = ["model", "quality"] if len(models) > 1 else []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(several + names)
    for model, quality, rows, mean in models:
        first = [model, "" if quality is None else f"{quality:g}"][: len(several)]
        averages = {"file": "mean", **asdict(mean)}
        for values in [*(asdict(row) for row in rows), averages]:
            cells = (values.get(name, "") for name in names)
            line = ["" if isinstance(c, float) and math.isnan(c) else c for c in cells]
            writer.writerow(first + line)
    return out.getvalue()
