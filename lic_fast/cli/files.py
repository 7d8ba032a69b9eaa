"""Kinds of files, and how their bytes are read."""

from __future__ import annotations

from pathlib import Path

from lic_fast.cli.options import PictureFormat

__all__ = ["LIC_SUFFIX", "PICTURE_SUFFIXES", "read_lic"]

LIC_SUFFIX = ".lic"
PICTURE_SUFFIXES = tuple(f".{name.value}" for name in PictureFormat)


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
