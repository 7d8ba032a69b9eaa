"""Checkpoints of a run: one file, written whole or not at all, and the one before it.

A checkpoint is a ``torch.save`` of plain values and tensors, read without running code.
``state_dict`` in it are the averaged weights, so that :func:`lic_fast.load` takes it too.
"""

from __future__ import annotations

import os
import secrets
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from lic_fast.errors import TrainingError

__all__ = ["NAME", "PREVIOUS", "read_checkpoint", "remove_leftovers", "write_checkpoint"]

NAME = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"

_VERSION = 1
_LEFTOVERS = ".checkpoint.*.tmp"


def write_checkpoint(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes a checkpoint; the one that was there becomes the previous one.

    At every moment the folder holds a whole checkpoint, if it held one before.

    Args:
        folder: The run's.
        content: Tensors and plain values.

    Raises:
        OSError: It cannot be written; what was there still is.
    """
    temporary = folder / f".checkpoint.{secrets.token_hex(8)}.tmp"
    last = folder / NAME
    try:
        with temporary.open("xb") as file:
            torch.save({"format": _VERSION, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        if last.exists():
            _keep(last, folder / PREVIOUS)
        os.replace(temporary, last)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(folder)


def _keep(last: Path, previous: Path) -> None:
    """Gives the last checkpoint the previous one's name too."""
    link = last.with_name(f".checkpoint.{secrets.token_hex(8)}.tmp")
    try:
        os.link(last, link)
    except OSError:
        # No hard links here: for a moment only the previous one is there, which is whole.
        os.replace(last, previous)
    else:
        os.replace(link, previous)


def _sync(folder: Path) -> None:
    """Makes renames last through a power failure, where folders can be synchronised."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes what a process that was killed while it wrote has left."""
    for path in folder.glob(_LEFTOVERS):
        path.unlink(missing_ok=True)


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The last checkpoint of a run.

    Raises:
        TrainingError: There is none, it is damaged or of another version. If the one before
            it is whole, the message says how to go on from that.
    """
    last, previous = folder / NAME, folder / PREVIOUS
    if not last.exists() and previous.exists():
        last = previous
    if not last.exists():
        raise TrainingError(f"{folder} holds no {NAME}: there is nothing to go on from")
    try:
        return _read(last)
    except TrainingError as damage:
        raise TrainingError(f"{damage}{_advice(last, previous)}") from None


def _advice(last: Path, previous: Path) -> str:
    if last == previous or not previous.exists():
        return "; there is no other"
    try:
        step = _read(previous)["state"]["step"]
    except (TrainingError, KeyError, TypeError):
        return f"; {previous.name} is no better"
    return (
        f". The one before it, of step {step}, is whole: to go on from that, move "
        f"{previous} to {last}"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            # torch does not look at checksums.
            damaged = archive.testzip()
        if damaged is not None:
            raise TrainingError(f"{path}: damaged at {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except TrainingError:
        raise
    # What a damaged archive or pickle makes its reader raise is not for us to list.
    except Exception as error:
        raise TrainingError(f"{path}: damaged, or no checkpoint: {error}") from None
    version = content.get("format") if isinstance(content, dict) else None
    if version != _VERSION:
        raise TrainingError(
            f"{path}: no checkpoint of a run, or of another version ({version!r}, not {_VERSION})"
        )
    return content
