"""The log of a run, ``log.csv``: one row for each report."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from lic_fast.codec import write_bytes_atomically

__all__ = ["COLUMNS", "NAME", "RunLog", "read_log"]

NAME = "log.csv"
COLUMNS = (
    "step",
    "minutes",
    "lr",
    "loss",
    "bpp",
    "distortion",
    "aux",
    "gradient_norm",
    "skipped",
    "steps_per_second",
    "validation_bpp",
    "validation_psnr",
)
"""Of the log. Means are over the steps since the row before; `distortion` is the MSE of pixels in
[0, 1], or MS-SSIM; `skipped` counts the steps since the start whose gradients were not finite."""

Row = Mapping[str, float]


class RunLog:
    """Appends rows to a log.

    Args:
        folder: The run's.
        step: Rows of later steps are removed: the run that wrote them was cut off
            after its last checkpoint, and they will be written again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / NAME
        kept = [row for row in read_log(folder) if row["step"] <= step] if step else []
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_cells(row) for row in kept)
        write_bytes_atomically(self._path, text.getvalue().encode(), overwrite=True)

    def write(self, row: Row) -> None:
        """Appends a row; columns that it does not have stay empty."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(_cells(row))

    def sync(self) -> None:
        """Makes what was written last through a power failure."""
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())


def _cells(row: Row) -> list[str]:
    return [repr(row[column]) if column in row else "" for column in COLUMNS]


def read_log(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's log, without empty cells; none if there is no log.

    A last line that was cut off is left out.
    """
    try:
        text = (folder / NAME).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    rows = []
    for cells in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
        try:
            row = {
                name: int(cells[name]) if name in ("step", "skipped") else float(cells[name])
                for name in COLUMNS
                if cells.get(name)
            }
        except ValueError:
            continue
        if "step" in row:
            rows.append(row)
    return rows
