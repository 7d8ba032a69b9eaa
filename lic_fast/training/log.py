"""The logs of a run.

``log.csv`` has a row for each report, ``validation.csv`` one for each validation, group of
pictures and quality.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lic_fast.codec import write_bytes_atomically

__all__ = ["COLUMNS", "NAME", "RunLog", "read_log", "read_validation"]

NAME = "log.csv"
VALIDATION = "validation.csv"
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

VALIDATION_COLUMNS = ("step", "minutes", "group", "pictures", "quality", "bpp", "psnr")
"""Of the log of validations: means over the pictures of a folder, named `group`, at one of the
anchors' qualities; `quality` is empty for a model of one rate."""

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
        self._validation = folder / VALIDATION
        lines = [",".join(VALIDATION_COLUMNS)]
        lines += [_line(row) for row in read_validation(folder) if int(row["step"]) <= step]
        content = "\n".join([*lines, ""]).encode()
        write_bytes_atomically(self._validation, content, overwrite=True)

    def write(self, row: Row) -> None:
        """Appends a row; columns that it does not have stay empty."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(_cells(row))

    def write_validation(
        self,
        step: int,
        minutes: float,
        groups: Sequence[str],
        qualities: Sequence[float | None],
        measured: np.ndarray,
    ) -> None:
        """Appends the means of each group of pictures at each quality.

        Args:
            step: Steps done.
            minutes: Spent.
            groups: The group of each picture.
            qualities: At which they were coded; None for a model of one rate.
            measured: (pictures, qualities, 2), bits per pixel and PSNR in dB.
        """
        with self._validation.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for group in dict.fromkeys(groups):
                own = measured[[name == group for name in groups]]
                for quality, (bpp, psnr) in zip(qualities, own.mean(0), strict=True):
                    cells = [step, f"{minutes:.2f}", group, len(own)]
                    cells += ["" if quality is None else f"{quality:.2f}"]
                    writer.writerow([*cells, f"{bpp:.5f}", f"{psnr:.4f}"])

    def sync(self) -> None:
        """Makes what was written last through a power failure."""
        for path in (self._path, self._validation):
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def _line(row: Mapping[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row.values())
    return text.getvalue()


def _cells(row: Row) -> list[str]:
    return [repr(row[column]) if column in row else "" for column in COLUMNS]


def read_validation(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's ``validation.csv``, by column; none if there is no such file.

    A last line that was cut off is left out.
    """
    try:
        text = (folder / VALIDATION).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    rows = csv.reader(text[: text.rfind("\n") + 1].splitlines()[1:])
    return [
        dict(zip(VALIDATION_COLUMNS, row, strict=True))
        for row in rows
        if len(row) == len(VALIDATION_COLUMNS) and row[0].isdigit()
    ]


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
