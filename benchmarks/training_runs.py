r"""Training runs side by side: loss over time, and what they end with.

python -m benchmarks.training_runs NAME[@LAMBDA]=RUN ... --note "What they were." \
    -o benchmarks/results/default-model

writes default-model.md, .svg and .json, which has the logs. RUN is the folder of a
`lic-fast train`, or a JSON that this wrote, from which it takes the run of that name.
LAMBDA is 0.013 if left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lic_fast.training.log import read_log

_PEAK = 255**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME[@LAMBDA]=RUN")
    parser.add_argument("--note", default="", help="paragraph above the table")
    parser.add_argument("-o", "--out", type=Path, required=True, help="without a suffix")
    options = parser.parse_args()
    runs = dict(_run(*text.partition("=")[::2]) for text in options.runs)
    options.out.with_suffix(".json").write_text(json.dumps(runs) + "\n")
    _draw(runs, options.out.with_suffix(".svg"))
    options.out.with_suffix(".md").write_text(_report(runs, options.note, options.out.name))


def _run(name: str, source: str) -> tuple[str, list[dict[str, float]]]:
    path = Path(source)
    rows = read_log(path) if path.is_dir() else json.loads(path.read_text())[name]
    if not rows:
        raise SystemExit(f"{source}: no log")
    return name, rows


def _lambda(name: str) -> float:
    return float(name.partition("@")[2] or 0.013)


def _measured(rows: list[dict[str, float]], lambda_: float) -> list[tuple[float, float]]:
    """Minutes, and the loss on whole validation pictures, with the averaged weights."""
    return [
        (
            row["minutes"],
            lambda_ * _PEAK * 10 ** (-row["validation_psnr"] / 10) + row["validation_bpp"],
        )
        for row in rows
        if "validation_bpp" in row
    ]


def _draw(runs: dict[str, list[dict[str, float]]], path: Path) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    crops, pictures = figure.subplots(1, 2)
    for name, rows in runs.items():
        drawn = [(row["minutes"], row["loss"]) for row in rows if "loss" in row]
        crops.plot(*zip(*drawn, strict=True), linewidth=1, label=name)
        pictures.plot(*zip(*_measured(rows, _lambda(name)), strict=True), marker="o", label=name)
    crops.set_title("training crops", fontsize="medium")
    pictures.set_title("validation pictures, real streams, averaged weights", fontsize="medium")
    for axis in (crops, pictures):
        axis.set_yscale("log")
        axis.set_xlabel("minutes")
        axis.grid(alpha=0.3, which="both")
    crops.set_ylabel("λ·255²·MSE + bits per pixel")
    crops.legend(fontsize="small")
    FigureCanvasSVG(figure).print_svg(path)


def _report(runs: dict[str, list[dict[str, float]]], note: str, name: str) -> str:
    lines = [
        "# Training runs side by side",
        "",
        *([note, ""] if note else []),
        "Loss is λ·255²·MSE + bits per pixel, on the validation pictures with real streams and "
        "averaged weights. λ is 0.013 where a run's name does not say.",
        "",
        "| run | minutes | steps | steps/s | bpp | PSNR | loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for run, rows in runs.items():
        last = [row for row in rows if "validation_bpp" in row][-1]
        lines.append(
            f"| {run} | {last['minutes']:.1f} | {last['step']:.0f} "
            f"| {last['step'] / last['minutes'] / 60:.2f} | {last['validation_bpp']:.3f} "
            f"| {last['validation_psnr']:.2f} dB | {_measured(rows, _lambda(run))[-1][1]:.3f} |"
        )
    lines += ["", f"![Loss over minutes]({name}.svg)", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
