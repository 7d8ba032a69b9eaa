"""The memory of a process that is lic_fast's own: a command, or a benchmark.

glibc's malloc takes every block of 32 MiB and more from the system and gives it back when it is
freed. A feature map of a photograph is larger, so that its pages are faulted in anew for each
layer. A process that keeps freed memory spares that; but to keep it is a setting of the whole
process, which a library must leave to its host. ``benchmarks/results/kept-memory.md`` has figures.
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MEBIBYTE = 1 << 20
# Larger blocks would leave gaps in the heap that nothing fits.
_MAPPED_FROM = 256 * _MEBIBYTE
_KEPT = 1024 * _MEBIBYTE


def keep_freed_memory() -> bool:
    """Lets malloc keep up to a gibibyte of freed memory, in blocks up to 256 MiB, for good.

    Returns:
        Whether it does: malloc is glibc's.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; TypeError: Windows
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MAPPED_FROM) and mallopt(_TRIM_THRESHOLD, _KEPT))
