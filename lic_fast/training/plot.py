"""A picture of a run's log, ``run.svg``."""

from __future__ import annotations

from pathlib import Path

from lic_fast.training.log import read_log

__all__ = ["NAME", "plot_run"]

NAME = "run.svg"

_PANELS = (
    ("loss", "loss"),
    ("bpp", "bits per pixel"),
    ("psnr", "PSNR, dB"),
    ("lr", "learning rate"),
)


def plot_run(folder: Path, metric: str) -> Path | None:
    """Draws loss, rate, distortion and learning rate over the steps.

    Args:
        folder: The run's, with its log.
        metric: Of the distortion, "mse" or "ms-ssim".

    Returns:
        The file; None if the log is empty.
    """
    rows = [row for row in read_log(folder) if "loss" in row]
    if not rows:
        return None
    # Not pyplot: it is a global, and asks for a display.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flat
    steps = [row["step"] for row in rows]
    for axis, (name, label) in zip(axes, _PANELS, strict=True):
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if name == "psnr" and metric == "ms-ssim":
            axis.set_ylabel("MS-SSIM")
            values = [row["distortion"] for row in rows]
        elif name == "psnr":
            values = [_decibels(row["distortion"]) for row in rows]
        else:
            values = [row[name] for row in rows]
        axis.plot(steps, values, linewidth=1, label="training crops")
        measured = [row for row in rows if f"validation_{name}" in row]
        if measured:
            axis.plot(
                [row["step"] for row in measured],
                [row[f"validation_{name}"] for row in measured],
                marker="o",
                markersize=3,
                linewidth=1,
                label="validation, real streams",
            )
            axis.legend(fontsize="small")
    # The first steps of a run from scratch would flatten all that follows.
    losses = sorted(row["loss"] for row in rows)
    if losses[0] > 0 and losses[-1] > 10 * losses[0]:
        figure.axes[0].set_yscale("log")
    for axis in figure.axes[2:]:
        axis.set_xlabel("step")
    path = folder / NAME
    FigureCanvasSVG(figure).print_svg(path)
    return path


def _decibels(mse: float) -> float:
    import math

    return -10 * math.log10(max(mse, 1e-12))
