"""What a run is asked to do, and what it says while and after it does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lic_fast.training.recipe import Recipe

if TYPE_CHECKING:
    from lic_fast.models import SliceCompressionModel

__all__ = ["Job", "Outcome", "Reporter"]


@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        folder: What it writes goes here; made if missing.
        recipe: What it computes.
        pictures: Picture files to train on.
        validation: Picture files to validate on; may be empty.
        cache: Where decoded pictures are kept; in `folder` if None.
        start: Checkpoint whose weights it starts from, or None.
        resume: Whether to go on from the checkpoint in `folder`.
        device: "auto", "cpu" or "cuda".
    """

    folder: Path
    recipe: Recipe
    pictures: list[Path]
    validation: list[Path] = field(default_factory=list)
    cache: Path | None = None
    start: Path | None = None
    resume: bool = False
    device: str = "auto"


class Reporter:
    """Told of a run as it goes; does nothing. Only the first of several processes calls it."""

    def note(self, message: str) -> None:
        """Something that is no fault."""

    def warn(self, message: str) -> None:
        """Something that the user may want to change."""

    def working(self, what: str, done: int, total: int) -> None:
        """Progress of what goes before and after the steps."""

    def row(self, row: Mapping[str, float]) -> None:
        """A row of the log; see :data:`lic_fast.training.log.COLUMNS`."""

    def progress(self, share: float, step: int) -> None:
        """Called after every step with the share of the run that is done."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        model: The averaged weights, in evaluation mode, with tables.
        step: Steps done.
        finished: Whether that is the run's whole length; else it was told to stop.
        signal: The signal that told it to, or None.
        files: What it wrote, beside its checkpoints.
    """

    model: SliceCompressionModel
    step: int
    finished: bool
    signal: int | None = None
    files: list[Path] = field(default_factory=list)
