"""Kinds of files, and how their bytes are read."""

from __future__ import annotations

import os
from pathlib import Path

from lic_fast.cli.console import fail
from lic_fast.cli.paths import blocked
from lic_fast.cli.text import display
from lic_fast.errors import ChecksumError

__all__ = ["LIC_SUFFIX", "check_output", "is_whole_lic", "read_lic"]

LIC_SUFFIX = ".lic"


def check_output(path: Path, overwrite: bool) -> None:
    """Ends the command if a report or a model could not be written to `path` after the work."""
    fault = blocked(path, overwrite)
    if fault is not None:
        fail(fault, status=2 if path.is_dir() else 1)
    if not path.parent.is_dir():
        fail(f"{display(path)}: there is no folder {display(path.parent)}")


def read_lic(path: Path) -> bytes:
    """All bytes of a ``.lic`` file.

    Raises:
        FormatError: The file is of another kind; it is then not read to its end.
        OSError: It cannot be read.
    """
    from lic_fast.codec.container import MAGIC, unpack

    with open(path, "rb") as file:
        start = file.read(64)
        if not start.startswith(MAGIC):
            # Raises, and knows best what to say; the rest may be of any length.
            unpack(start)
        return start + file.read()


def is_whole_lic(path: Path) -> bool:
    """Whether a file is a ``.lic`` file to its last byte, or a cut or damaged one.

    Raises:
        FormatError: It is another kind of file, or of a newer version.
        OSError: It cannot be read.
    """
    from lic_fast.codec.container import unpack

    if not os.path.getsize(path):
        return False
    try:
        unpack(read_lic(path), max_pixels=2**62)
    except ChecksumError:
        return False
    return True
