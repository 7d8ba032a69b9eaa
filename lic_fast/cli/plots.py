"""Rate-distortion plots as SVG, through matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from lic_fast.cli.curves import Curve

__all__ = ["available", "rate_distortion"]

_QUALITIES = {
    "psnr_db": "PSNR in dB",
    "ms_ssim": "MS-SSIM in dB: −10·log10(1 − MS-SSIM)",
}


def available() -> bool:
    """Whether there is matplotlib."""
    return find_spec("matplotlib") is not None


def rate_distortion(curves: Sequence[Curve], quality: str, width: float) -> str | None:
    """An ``<svg>`` element without anything outside of it.

    Args:
        curves: What to draw: models thick, anchors thin, references dotted.
        quality: "psnr_db" or "ms_ssim".
        width: In bits per pixel, of the plot; points beyond it are left out.

    Returns:
        None if no curve has this quality.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawn = 0
    # Text as text; names of clip paths the same in every run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lic_fast"}):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for curve in curves:
            points = [
                (point.bpp, _value(getattr(point, quality), quality)) for point in curve.points
            ]
            points = [(x, y) for x, y in points if math.isfinite(y) and x <= width]
            if not points:
                continue
            drawn += 1
            style: dict[str, Any] = {
                "model": {"linewidth": 2.2, "marker": "o", "markersize": 6, "zorder": 3},
                "anchor": {"linewidth": 1.1, "marker": ".", "markersize": 5},
                "reference": {"linewidth": 1.1, "linestyle": ":", "marker": "x", "markersize": 4},
            }[curve.kind]
            # A name that begins with an underscore would be left out of the legend.
            name = curve.name.replace("$", r"\$")
            name = f" {name}" if name.startswith("_") else name
            axes.plot(*zip(*points, strict=True), label=name, **style)
        axes.set_xlabel("bits per pixel")
        axes.set_ylabel(_QUALITIES[quality])
        axes.grid(alpha=0.3)
        if not drawn:
            return None
        axes.legend(fontsize="small", loc="lower right")
        out = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=nothing)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _value(value: float, quality: str) -> float:
    if quality == "psnr_db":
        return value
    return -10 * math.log10(1 - value) if value < 1 else math.nan
