"""Times on a machine that others use too: interleaved, and from a standstill."""

from __future__ import annotations

import ctypes
import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

Key = TypeVar("Key")
_STEP = 0.02
_LONGEST_WAIT = 2.0
_SHORTEST_TURN = 0.1


class Turn(NamedTuple):
    """What runs, and the context in which it does."""

    work: Callable[[], Any]
    context: Callable[[], AbstractContextManager[None]]


class BusyThreadsError(RuntimeError):
    """Threads of this process go on computing when nothing is asked of them."""


def standstill() -> float:
    """Waits until no thread of this process computes; returns for how many seconds.

    An OpenMP or TBB thread without work spins for a while before it sleeps, on a core that the
    next contender wants.

    Raises:
        BusyThreadsError: They did not stop.
    """
    start = time.perf_counter()
    while True:
        wall, cpu = time.perf_counter(), time.process_time()
        time.sleep(_STEP)
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
        waited = time.perf_counter() - start
        if share < 0.05:
            return waited
        if waited > _LONGEST_WAIT:
            raise BusyThreadsError(f"after {waited:.1f} s of rest {share:.0%} of a core is in use")


def seconds(work: Callable[[], Any], device: str) -> float:
    """Of one call; on CUDA between two events on a device that has nothing else to do.

    What the host does in between is in it: it codes, and launches what small kernels wait for.
    """
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _trim() -> None:
    """Gives freed memory back to the system, where malloc is glibc's."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def turn(work: Callable[[], Any], device: str) -> float:
    """Seconds of one call; of a short one, the median of as many as take a tenth of a second.

    Before, everything that is free goes back to the system, so that nobody finds the memory that
    another has kept, and two calls go untimed, so that everybody finds their own.
    """
    _trim()
    for _ in range(2):
        work()
    first = seconds(work, device)
    repeats = min(100, int(_SHORTEST_TURN / first))
    if repeats == 0:
        return first
    return statistics.median(seconds(work, device) for _ in range(repeats))


def rounds(
    turns: Mapping[Key, Turn], number: int, device: str, progress: Callable[[int], None]
) -> tuple[dict[Key, list[float]], dict[str, float]]:
    """Seconds of every turn in every round, and what is known of how undisturbed they were.

    Each round runs every turn once, so that a change of the machine's speed meets all alike.
    The order of one round is the reverse of the last one's: nobody always follows the same.
    """
    times: dict[Key, list[float]] = {key: [] for key in turns}
    longest = 0.0
    other = OtherProcesses()
    order = list(turns)
    for i in range(number):
        progress(i)
        for key in order:
            longest = max(longest, standstill())
            with turns[key].context():
                times[key].append(turn(turns[key].work, device))
        order.reverse()
    return times, {"others_share_of_cpu": other.share(), "longest_standstill_s": longest}


class OtherProcesses:
    """How much of the machine's processors others have used since this was made."""

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float:
        """Of all processors' time; NaN where the system does not tell."""
        busy, own, wall = (b - a for a, b in zip(self._start, self._now(), strict=True))
        return max(0.0, busy - own) / (wall * (os.cpu_count() or 1))

    @staticmethod
    def _now() -> tuple[float, float, float]:
        busy = float("nan")
        if (stat := Path("/proc/stat")).exists():
            user, nice, system, _, _, irq, softirq, steal = map(
                int, stat.read_text().split("\n")[0].split()[1:9]
            )
            ticks = user + nice + system + irq + softirq + steal
            busy = ticks / os.sysconf("SC_CLK_TCK")
        return busy, time.process_time(), time.perf_counter()
