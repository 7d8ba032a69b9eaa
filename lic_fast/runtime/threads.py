"""How many threads the runtime takes."""

from __future__ import annotations

import os

__all__ = ["set_threads", "threads"]

_threads: int | None = None


def set_threads(n: int) -> None:
    """Sets how many threads coding takes in this process.

    Args:
        n: At least 1.

    Raises:
        ValueError: It is no such number.
    """
    global _threads
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"a number of threads is a whole number from 1 up, not {n!r}")
    _threads = n


def threads() -> int:
    """How many threads coding takes.

    What :func:`set_threads` was given, else the environment's ``OMP_NUM_THREADS``, else the
    number of cores that the process may use, a core of several hardware threads being one. That
    is torch's choice too.
    """
    global _threads
    if _threads is None:
        _threads = _from_environment() or _cores()
    return _threads


def _from_environment() -> int | None:
    # A list, such as 4,2, is for nested parallel regions.
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _cores() -> int:
    """Cores among the processors that this process may run on."""
    try:
        processors = os.sched_getaffinity(0)
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
    return len({_siblings(processor) for processor in processors})


def _siblings(processor: int) -> str:
    """The hardware threads of a processor's core, the same text for each of them."""
    name = f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
    try:
        with open(name, encoding="ascii") as file:
            return file.read().strip() or str(processor)
    except (OSError, ValueError):
        return str(processor)
