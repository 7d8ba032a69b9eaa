"""What it is worth that the command line keeps freed memory.

`python -m benchmarks.kept_memory` prints a Markdown table: encode and decode at 768x512 on one
thread in two processes that take turns, one with `lic_fast.cli.memory.keep_freed_memory` and one
without. Medians of wall-clock and processor time, and the most memory that each process has held.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch

from benchmarks.models.nets import MODELS
from lic_fast import zoo
from lic_fast.cli.memory import keep_freed_memory

_ZOO = "zoo"
_WAYS = ("kept", "returned")


@torch.no_grad()
def serve(name: str) -> None:
    """Encodes and decodes for each line of the standard input, and prints seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # Random weights, which take as long as others.
    model = zoo.load() if name == _ZOO else MODELS[name]().eval()
    model.update()
    x = torch.rand(1, 3, 512, 768)
    for _ in sys.stdin:
        begin = time.perf_counter(), time.process_time()
        model.decode(model.encode(x))
        print(time.perf_counter() - begin[0], time.process_time() - begin[1], flush=True)


def _compare(name: str, rounds: int) -> None:
    command = [sys.executable, "-m", "benchmarks.kept_memory", "--serve", name]
    processes = [
        subprocess.Popen(
            [*command, way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1, text=True
        )
        for way in _WAYS
    ]
    times: list[list[tuple[float, ...]]] = [[] for _ in _WAYS]
    for turn in range(2 + rounds):
        for way in (0, 1) if turn % 2 else (1, 0):
            pipes = processes[way].stdin, processes[way].stdout
            assert pipes[0] is not None
            assert pipes[1] is not None
            pipes[0].write("\n")
            times[way].append(tuple(map(float, pipes[1].readline().split())))
    wall, work = (
        [statistics.median(t[kind] for t in way[2:]) * 1e3 for way in times] for kind in (0, 1)
    )
    held = [_most_held(process.pid) for process in processes]
    for what, (kept, returned) in (("wall ms", wall), ("processor ms", work), ("MB", held)):
        ratio = f"{returned / kept:.2f}x"
        print(f"| {name}, {what} | {kept:.0f} | {returned:.0f} | {ratio} |", flush=True)
    for process in processes:
        process.communicate()


def _most_held(process: int) -> float:
    """Megabytes."""
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1e3


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kept_memory", description=__doc__)
    parser.add_argument("models", nargs="*", default=[_ZOO, *MODELS], help="zoo, STF, ...")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve", nargs=2, metavar=("MODEL", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        name, way = options.serve
        if way == _WAYS[0]:
            keep_freed_memory()
        serve(name)
        return
    print("| | kept | returned | |\n|---|---|---|---|")
    for name in options.models:
        _compare(name, options.rounds)


if __name__ == "__main__":
    main()
