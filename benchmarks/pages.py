"""What huge pages are worth to whole models on the CPU.

`python -m benchmarks.pages` prints a Markdown table: medians in milliseconds of encode and decode
at 768x512 of two processes, with huge pages and without, that take turns, and the most memory that
each has held.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from unittest import mock

import torch

from benchmarks.models.nets import MODELS
from lic_fast import _C
from lic_fast.models import SliceCompressionModel

_ROUNDS = 15
_WAYS = ("with", "without")


def _model(name: str) -> SliceCompressionModel:
    """Of random weights, which any other kind of memory would be as good for."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    model.update()
    model.precision = "bfloat16"
    return model


@torch.no_grad()
def serve(name: str) -> None:
    """Encodes or decodes for each line of the standard input, and prints seconds."""
    model = _model(name)
    x = torch.rand(1, 3, 512, 768)
    streams = model.encode(x)
    work = {"encode": lambda: model.encode(x), "decode": lambda: model.decode(streams)}
    for line in sys.stdin:
        work[line.strip()]()  # after the other process
        begin = time.perf_counter()
        work[line.strip()]()
        print(time.perf_counter() - begin, flush=True)


def _compare(name: str) -> None:
    command = [sys.executable, "-m", "benchmarks.pages", "--serve", name]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = {way: subprocess.Popen([*command, way], **pipes) for way in _WAYS}  # type: ignore[call-overload]

    def seconds(way: str, part: str) -> float:
        process = processes[way]
        process.stdin.write(part + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    for part in ("encode", "decode"):
        times: dict[str, list[float]] = {way: [] for way in _WAYS}
        for turn in range(2 + _ROUNDS):
            for way in _WAYS if turn % 2 else reversed(_WAYS):
                times[way].append(seconds(way, part))
        with_, without = (statistics.median(times[way][2:]) * 1e3 for way in _WAYS)
        print(
            f"| {name}, {part} | {with_:.0f} | {without:.0f} | {without / with_:.2f}x |", flush=True
        )
    held = [_most_held(processes[way].pid) for way in _WAYS]
    print(f"| {name}, MB held | {held[0]:.0f} | {held[1]:.0f} | |", flush=True)
    for process in processes.values():
        process.communicate()


def _most_held(process: int) -> float:
    """Megabytes."""
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1e3


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--serve", nargs=2, metavar=("MODEL", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        name, way = options.serve
        if way == "with":
            serve(name)
        else:
            with mock.patch.object(_C, "prefer_huge_pages"):
                serve(name)
        return
    print("| | with huge pages | without | |\n|---|---|---|---|")
    for name in MODELS:
        _compare(name)


if __name__ == "__main__":
    main()
