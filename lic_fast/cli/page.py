"""The report of ``lic-fast eval`` as one HTML file that needs no other."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from lic_fast.cli import plots
from lic_fast.cli.curves import FEWEST_FOR_BD_RATE, Curve, Point, bd_rate, saving
from lic_fast.cli.report import Mean, Row, document, mean_of

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Closeup", "Evaluated", "html_text"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c1c1c; background: #fff; }
table { border-collapse: collapse; margin: 0.6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; }
.plots svg { width: 35rem; max-width: 100%; height: auto; background: #fff; }
.closeup { display: flex; flex-wrap: wrap; gap: 0.6rem; margin: 0 0 1.4rem; }
figure { margin: 0; } figcaption { font-size: 0.85rem; }
img { display: block; max-width: 100%; image-rendering: pixelated; }
.note { color: #555; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; }
  th, td { border-color: #444; } .note { color: #aaa; } }
"""


@dataclass(frozen=True)
class Evaluated:
    """What one model gave, at one quality.

    Attributes:
        curve: Name of the curve that it is a point of.
        rows: Of the pictures.
        settings: What rates and times depend on.
        failed: Files and reasons.
        quality: None for a model of one rate.
    """

    curve: str
    rows: Sequence[Row]
    settings: dict[str, Any]
    failed: Sequence[tuple[str, str]] = ()
    quality: float | None = None

    @property
    def label(self) -> str:
        """The model's name, with the quality if there is one."""
        name = str(self.settings["model"])
        return name if self.quality is None else f"{name}, quality {self.quality:g}"

    def document(self) -> dict[str, Any]:
        """For JSON."""
        settings = self.settings
        if self.quality is not None:
            settings = {**settings, "quality": self.quality}
        return document(self.rows, mean_of(self.rows), settings, self.failed)

    def table(self) -> tuple[str, float | None, Sequence[Row], Mean]:
        """For CSV."""
        return str(self.settings["model"]), self.quality, self.rows, mean_of(self.rows)

    def point(self) -> Point:
        """Of its curve."""
        mean = mean_of(self.rows)
        return Point(self.label, mean.bpp, mean.psnr_db, mean.ms_ssim)


@dataclass(frozen=True)
class Closeup:
    """A part of a picture, and what became of it.

    Attributes:
        title: Which picture, and why.
        parts: Captions and uint8 (H, W, 3) pixels.
    """

    title: str
    parts: Sequence[tuple[str, np.ndarray]]


def html_text(
    models: Sequence[Evaluated],
    curves: Sequence[Curve],
    closeups: Sequence[Closeup],
    notes: Sequence[str],
) -> str:
    """The page.

    Args:
        models: At least one, each with a row at least.
        curves: Of the models, of the anchors and of references.
        closeups: Of the worst pictures.
        notes: What a reader must know, a paragraph each.
    """
    count = max(len(model.rows) for model in models)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>lic_fast: {count} pictures</title><style>{_STYLE}</style></head><body>",
        f"<h1>lic_fast eval: {count} picture{'' if count == 1 else 's'}</h1>",
        _summary(models, curves),
        '<h2>Rate and distortion</h2><div class="plots">',
        *_plots(curves),
        "</div>",
        _rate_savings(curves),
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
        _sources(curves),
        *(["<h2>The worst pictures</h2>"] if closeups else []),
        *(_closeup(closeup) for closeup in closeups),
        *(_pictures(model) for model in models),
        _settings(models),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are escaped here."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def _number(value: float, digits: int) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}f}" if math.isfinite(value) else "∞"


def _percent(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:+.1f} %"


def _summary(models: Sequence[Evaluated], curves: Sequence[Curve]) -> str:
    anchors = [curve for curve in curves if curve.kind == "anchor"]
    rows = []
    for model in models:
        mean, point = mean_of(model.rows), model.point()
        rows.append(
            [
                model.label,
                _number(mean.bpp, 4),
                _number(mean.psnr_db, 2),
                _number(mean.ms_ssim, 4),
                _number(mean.encode_s, 3),
                _number(mean.decode_s, 3),
                *(_percent(saving(point, anchor)) for anchor in anchors),
            ]
        )
    heads = ["model", "bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s"]
    heads += [f"rate over {anchor.name}" for anchor in anchors]
    text = _table(heads, rows)
    if anchors:
        text += (
            "<p class=\"note\">Rate over a codec: at the model's mean PSNR, between the codec's "
            "mean points on a logarithmic scale of rate; – beyond them.</p>"
        )
    return text


def _rate_savings(curves: Sequence[Curve]) -> str:
    anchors = [curve for curve in curves if curve.kind == "anchor"]
    long = [
        curve
        for curve in curves
        if curve.kind == "model" and len(curve.points) >= FEWEST_FOR_BD_RATE
    ]
    if not long or not anchors:
        return ""
    rows = [[c.name, *(_percent(bd_rate(c, anchor)) for anchor in anchors)] for c in long]
    return "<h3>BD-rate, PSNR</h3>" + _table(["curve", *(f"over {a.name}" for a in anchors)], rows)


def _plots(curves: Sequence[Curve]) -> list[str]:
    if not plots.available():
        return ["<p>Plots need matplotlib: pip install 'lic_fast[report]'</p>"]
    own = max(p.bpp for curve in curves if curve.kind == "model" for p in curve.points)
    drawn = [plots.rate_distortion(curves, q, max(1.2, 1.5 * own)) for q in ("psnr_db", "ms_ssim")]
    return [text for text in drawn if text is not None]


def _sources(curves: Sequence[Curve]) -> str:
    found = [curve for curve in curves if curve.source]
    if not found:
        return ""
    items = "".join(f"<li>{escape(c.name)}: {escape(c.source)}</li>" for c in found)
    return f'<p class="note">Published results, not measured here:</p><ul class="note">{items}</ul>'


def _closeup(closeup: Closeup) -> str:
    figures = "".join(
        f'<figure><img alt="{escape(caption)}" src="{_data_uri(pixels)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, pixels in closeup.parts
    )
    return f'<h3>{escape(closeup.title)}</h3><div class="closeup">{figures}</div>'


def _data_uri(pixels: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _pictures(model: Evaluated) -> str:
    cells: list[tuple[str, Callable[[Row], str]]] = [
        ("picture", lambda row: row.file),
        ("size", lambda row: f"{row.width}×{row.height}"),
        ("bytes", lambda row: str(row.bytes)),
        ("bpp", lambda row: _number(row.bpp, 4)),
        ("PSNR dB", lambda row: _number(row.psnr_db, 3)),
        ("MS-SSIM", lambda row: _number(row.ms_ssim, 5)),
        ("encode s", lambda row: _number(row.encode_s, 3)),
        ("decode s", lambda row: _number(row.decode_s, 3)),
    ]
    rows = [[cell(row) for _, cell in cells] for row in model.rows]
    table = _table([head for head, _ in cells], rows)
    failed = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in model.failed)
    title = escape(model.label)
    problems = f"<p>Not measured:</p><ul>{failed}</ul>" if failed else ""
    opened = f"<h2>Every picture: {title}</h2><details open><summary>{len(rows)} rows</summary>"
    return f"{opened}{table}{problems}</details>"


def _settings(models: Sequence[Evaluated]) -> str:
    names = [name for name in models[0].settings if name not in ("rate", "timing", "model")]
    rows = [[name, *(str(model.settings.get(name, "")) for model in models)] for name in names]
    return "<h2>Settings</h2>" + _table(["", *(model.label for model in models)], rows)
