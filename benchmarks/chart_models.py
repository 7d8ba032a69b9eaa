"""Draws the bar chart of the README from the JSON of `python -m benchmarks.models`.

python benchmarks/chart_models.py build/models.json -o docs/models.svg
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

OPERATIONS = ("encode", "decode")
# Okabe and Ito's palette; those that are compared with stand back. Each is readable on white and
# on black, as is the grey of the text.
STYLES = {
    "reference": ("PyTorch", "#8c8c8c"),
    "torch.compile": ("torch.compile", "#56b4e9"),
    "openvino f32": ("OpenVINO, float32", "#cc79a7"),
    "openvino bf16": ("OpenVINO, bfloat16", "#9e5f82"),
    "auto": ("lic_fast, float32", "#e69f00"),
    "auto bf16": ("lic_fast, bfloat16 transforms", "#d55e00"),
    "portable": ("lic_fast, portable", "#009e73"),
}
TEXT = "#7a7a7a"
WIDTH, ROW, GAP, MARGINS = 8.4, 0.185, 0.6, 1.15


def main() -> None:
    """Reads the file that is named and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/models.svg"))
    parser.add_argument("--input", default="768x512", help="that of the bars (768x512)")
    options = parser.parse_args()
    figure = chart(json.loads(options.report.read_text()), options.input)
    # Text stays text, and the same figures give the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lic_fast"}):
        metadata = {"Date": None} if options.output.suffix == ".svg" else None
        figure.savefig(options.output, transparent=True, metadata=metadata)


def chart(report: Mapping[str, Any], size: str) -> Figure:
    """Times of encoding and decoding side by side, a group of bars for each model.

    Raises:
        ValueError: The report has no such input, or neither operation.
    """
    bars = medians(report, size)
    names = [name for name in STYLES if any(name in found for found in bars.values())]
    models = list(dict.fromkeys(model for model, _ in bars))
    rows = sum(len(names) + GAP for _ in models)
    with matplotlib.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 9,
            "text.color": TEXT,
            "axes.labelcolor": TEXT,
        }
    ):
        figure = Figure(figsize=(WIDTH, ROW * rows + MARGINS), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True)
        for panel, operation in zip(axes, OPERATIONS, strict=True):
            _panel(panel, operation, models, names, bars)
        for panel in axes:
            # Room for the label of the longest bar.
            panel.set_xlim(0, 1.14 * max(max(found.values()) for found in bars.values()))
        for position, model in enumerate(models):
            middle = position * (len(names) + GAP) + (len(names) - 1) / 2
            axes[0].text(
                -0.02,
                middle,
                model,
                ha="right",
                va="center",
                weight="bold",
                transform=axes[0].get_yaxis_transform(),
            )
        handles = [
            Patch(color=colour, label=label) for label, colour in (STYLES[name] for name in names)
        ]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(3, len(names)),
            frameon=False,
            handlelength=1,
            handleheight=1,
        )
    return figure


def medians(report: Mapping[str, Any], size: str) -> dict[tuple[str, str], dict[str, float]]:
    """Seconds of each contender, of each model and operation.

    Raises:
        ValueError: There are none.
    """
    bars = {
        (case["model"], operation): {
            name: median(times) for name, times in case["seconds"][operation].items()
        }
        for case in report["cases"]
        if case["input"] == size
        for operation in OPERATIONS
        if operation in case["seconds"]
    }
    if not bars:
        raise ValueError(f"the report has no encode and decode of {size}")
    return bars


def _panel(
    axes: Axes,
    operation: str,
    models: list[str],
    names: list[str],
    bars: Mapping[tuple[str, str], Mapping[str, float]],
) -> None:
    for position, model in enumerate(models):
        times = bars.get((model, operation), {})
        for row, name in enumerate(names):
            if name in times:
                y = position * (len(names) + GAP) + row
                axes.barh(y, times[name], height=0.86, color=STYLES[name][1])
                axes.annotate(
                    f"{times[name]:.2f}",
                    (times[name], y),
                    (3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                )
    axes.set_title(f"{operation}, seconds", loc="left", fontsize=10, color=TEXT)
    axes.set_ylim(len(models) * (len(names) + GAP) - GAP - 0.4, -0.6)
    axes.set_axis_off()


if __name__ == "__main__":
    main()
