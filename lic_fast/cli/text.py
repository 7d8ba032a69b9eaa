"""Numbers and names as people read them."""

from __future__ import annotations

import os
import re
from decimal import Decimal

__all__ = ["display", "human_bytes", "ratio", "size_in_bytes"]

_UNITS = {"": 1, "B": 1, "kB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2}


def display(path: str | os.PathLike[str]) -> str:
    r"""A path, or a text that may hold one, with what is not printable as escapes.

    A file name may hold line breaks, terminal commands and bytes that are no text;
    none of these may reach a terminal or stop a message from being printed.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in os.fspath(path)
    )


def human_bytes(size: int) -> str:
    """A size in bytes, kB or MB (powers of 1000), such as ``12.3 kB``."""
    if size < 1000:
        return f"{size} B"
    if size < 999_950:
        return f"{size / 1000:.1f} kB"
    return f"{size / 1_000_000:.2f} MB"


def size_in_bytes(text: str) -> int:
    """The size that a text such as ``200kB`` or ``1.5 MiB`` states; parts of a byte are dropped.

    Raises:
        ValueError: It is none; the message says what is.
    """
    read = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?([A-Za-z]*)", text)
    size = 0
    if read is not None and read[2] in _UNITS:
        size = int(Decimal(read[1]) * _UNITS[read[2]])
    if size < 1:
        units = ", ".join(unit for unit in _UNITS if unit)
        raise ValueError(
            f"{display(text)!r} is no size: write a number of bytes, at least 1, or one with "
            f"{units}, such as 200kB"
        )
    return size


def ratio(original: int, compressed: int) -> str:
    """How many times smaller `compressed` is, such as ``37.8x``."""
    quotient = original / max(compressed, 1)
    return f"{quotient:.0f}x" if quotient >= 100 else f"{quotient:.1f}x"
