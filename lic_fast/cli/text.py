"""Numbers and names as people read them."""

from __future__ import annotations

import os

__all__ = ["display", "human_bytes", "ratio"]


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


def ratio(original: int, compressed: int) -> str:
    """How many times smaller `compressed` is, such as ``37.8x``."""
    quotient = original / max(compressed, 1)
    return f"{quotient:.0f}x" if quotient >= 100 else f"{quotient:.1f}x"
