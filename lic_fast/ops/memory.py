"""Memory that is freed and used again, instead of returned and asked for again.

glibc's malloc takes every block of 32 MiB and more from the system and gives it
back when it is freed. A feature map of a photograph is larger, so that each of
its pages is faulted in anew for each layer: on the machines measured, as long
as the layers' arithmetic takes, or longer (``benchmarks/results/models-analysis.md``).
Pages of 4 KiB cost again whenever maps are read, since a processor remembers where
some thousand of them are and has to look up the others: pages of 2 MiB make whole
models up to a few percent faster (``benchmarks/results/pages.md``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lic_fast import _C

__all__ = ["KEPT_MEBIBYTES", "MAPPED_FROM", "release_memory", "reused_memory"]

KEPT_MEBIBYTES = "LIC_FAST_KEPT_MEBIBYTES"
"""Environment variable: how much freed memory may be kept, 1024 if unset, 0 for malloc's ways."""

_MEBIBYTE = 1 << 20
_LARGEST = (1 << 31) - 1
_reused: ContextVar[bool] = ContextVar("lic_fast_reused_memory", default=False)
MAPPED_FROM = 256 * _MEBIBYTE
"""Blocks of so many bytes are not kept: they would leave gaps in the heap that nothing fits, for
little gain, as with pictures that large most time is spent elsewhere."""
# Where glibc's own adaptation of the threshold ends.
_MALLOCS_OWN = 32 * _MEBIBYTE


@contextmanager
def reused_memory() -> Iterator[None]:
    """Inside, blocks up to 256 MiB come from memory that was freed before.

    On Linux the heap of the main thread then asks for huge pages, which most
    systems give to those that ask, and goes on to. Afterwards malloc works as
    usual, but keeps up to a gibibyte (:data:`KEPT_MEBIBYTES`) at the top of its
    heap until :func:`release_memory`. Nothing changes where malloc is not glibc's.
    """
    kept = _kept_bytes()
    if not kept:
        yield
        return
    _C.set_malloc_thresholds(MAPPED_FROM, kept)
    _prefer_huge_pages(kept)
    token = _reused.set(True)
    try:
        yield
    finally:
        _C.set_malloc_thresholds(_MALLOCS_OWN, kept)
        _reused.reset(token)


def release_memory() -> None:
    """Gives the memory that is kept for the next picture back to the system."""
    _C.release_freed_memory()
    if _reused.get():
        _prefer_huge_pages(_kept_bytes())


def _prefer_huge_pages(kept: int) -> None:
    """For as much as most pictures take, of what may be kept: addresses, not yet memory."""
    _C.prefer_huge_pages(kept // 2, min(kept // 2, MAPPED_FROM - _MEBIBYTE))


def _kept_bytes() -> int:
    text = os.environ.get(KEPT_MEBIBYTES, "1024")
    try:
        mebibytes = int(text)
    except ValueError:
        raise ValueError(
            f"{KEPT_MEBIBYTES} must be a whole number of mebibytes, not {text!r}"
        ) from None
    if mebibytes < 0:
        raise ValueError(f"{KEPT_MEBIBYTES} must not be negative, as {mebibytes} is")
    return min(mebibytes * _MEBIBYTE, _LARGEST)
