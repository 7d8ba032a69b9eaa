"""This checkout against another one, in one run: encode, decode and peak memory of whole models.

`python -m benchmarks.against OLD -o benchmarks/results/engine.md` measures, for each model,
arithmetic and input, both checkouts in turn, each in a process of its own with its own package,
and reports medians, ratios (time of OLD over time of this one) and peaks of memory. `OLD` is a
checkout of another commit whose extension has been built in place
(`python setup.py build_ext --inplace`); both run by the Python that runs this.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

_HERE = Path(__file__).resolve().parents[1]
_PARTS = ("encode", "decode")
_ZOO = "zoo"
_CONTENDERS = {"float32": "auto", "bfloat16": "auto bf16", "portable": "portable"}


class Worker:
    """A process that has one model of a checkout and runs it when asked to."""

    def __init__(self, checkout: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.against", "--worker", *arguments],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: str) -> str:
        """The answer, one line.

        Raises:
            RuntimeError: The process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker ended with status {self._process.wait()}")
        return answer.strip()

    def end(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def work(name: str, arithmetic: str, threads: str, folder: str) -> None:
    """Answers questions from standard input: "input 768x512", "encode", "decode"."""
    import torch

    from benchmarks.models.contenders import CONTENDERS
    from benchmarks.models.nets import Input, build

    torch.set_num_threads(int(threads))
    contender = CONTENDERS[_CONTENDERS[arithmetic]]
    if name == _ZOO:
        model = __import__("lic_fast").zoo.load()
    else:
        model = build(name)
        step = model.multiple
        sample = Input(-(-512 // step) * step, -(-512 // step) * step)
        contender.prepare(model, sample.picture(), Path(folder))
    x: Any = None
    streams: Any = None
    for line in sys.stdin:
        kind, *rest = line.split()
        if kind == "input":
            x = Input.parse(rest[0]).padded(model.multiple).picture()
            for _ in range(2):
                streams = model.encode(x)
                model.decode(streams)
            print("ready", flush=True)
            continue
        begin = time.perf_counter()
        if kind == "encode":
            model.encode(x)
        else:
            model.decode(streams)
        print(time.perf_counter() - begin, flush=True)


def memory(name: str, arithmetic: str, threads: str, folder: str, size: str) -> None:
    """Prints the peaks of encode and decode in MB above what the loaded model takes."""
    import gc

    import torch

    from benchmarks.models import memory as peaks
    from benchmarks.models.contenders import CONTENDERS
    from benchmarks.models.nets import Input, build

    torch.set_num_threads(int(threads))
    if name == _ZOO:
        model = __import__("lic_fast").zoo.load()
    else:
        model = build(name)
        CONTENDERS[_CONTENDERS[arithmetic]].prepare(model, torch.empty(0), Path(folder))
    tiny = Input(model.multiple, model.multiple).picture()
    model.decode(model.encode(tiny))
    x = Input.parse(size).padded(model.multiple).picture()
    gc.collect()
    before = peaks._now("cpu")
    found = []
    streams = None
    for part in _PARTS:
        peaks._reset_peak("cpu")
        if part == "encode":
            streams = model.encode(x)
        else:
            model.decode(streams)
        found.append((peaks._peak("cpu") - before) / 1e6)
    print(*found)


@contextmanager
def _workers(old: Path, *arguments: str) -> Iterator[dict[str, Worker]]:
    workers = {"old": Worker(old, *arguments), "new": Worker(_HERE, *arguments)}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.end()


def compare(old: Path, name: str, arithmetic: str, options: argparse.Namespace) -> list[list[str]]:
    """Rows of the report for one model in one arithmetic."""
    arguments = [name, arithmetic, str(options.threads), str(options.folder / name)]
    Path(arguments[-1]).mkdir(parents=True, exist_ok=True)
    rows: list[list[str]] = []
    with _workers(old, *arguments) as workers:
        for size in options.inputs:
            times: dict[str, list[float]] = {f"{w} {p}": [] for w in workers for p in _PARTS}
            for worker in workers.values():
                worker.ask(f"input {size}")
            for _ in range(options.rounds):
                for part in _PARTS:
                    for label, worker in workers.items():
                        times[f"{label} {part}"].append(float(worker.ask(part)))
            row = [name, arithmetic, size]
            for part in _PARTS:
                a, b = median(times[f"old {part}"]), median(times[f"new {part}"])
                row += [f"{1e3 * a:.0f}", f"{1e3 * b:.0f}", f"{a / b:.2f}"]
            rows.append(row)
    for row in rows:
        if options.memory:
            both = [_peaks(checkout, arguments, row[2]) for checkout in (old, _HERE)]
            row += [f"{megabytes:.0f}" for part in zip(*both, strict=True) for megabytes in part]
        print("| " + " | ".join(row) + " |", flush=True)
    return rows


def _peaks(checkout: Path, arguments: Sequence[str], size: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.against", "--memory-of", *arguments, size],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [float(number) for number in done.stdout.split()]


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
        return
    if sys.argv[1:2] == ["--memory-of"]:
        memory(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, help="the other checkout")
    parser.add_argument("--models", nargs="+", default=[_ZOO, "WACNN", "STF", "TCM"])
    parser.add_argument("--arithmetic", nargs="+", default=list(_CONTENDERS), choices=_CONTENDERS)
    parser.add_argument("--inputs", nargs="+", default=["768x512", "1920x1080", "768x512x8"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--memory", action="store_true", help="peaks of memory, too")
    parser.add_argument("--folder", type=Path, help="keeps portable models for other runs")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    kept = tempfile.TemporaryDirectory() if options.folder is None else None
    options.folder = Path(kept.name if kept is not None else options.folder).resolve()
    rows = []
    for name in options.models:
        for arithmetic in ["portable"] if name == _ZOO else options.arithmetic:
            rows += compare(options.old.resolve(), name, arithmetic, options)
    if options.output is not None:
        options.output.write_text(report(rows, options))


def report(rows: list[list[str]], options: argparse.Namespace) -> str:
    """The rows as Markdown."""
    from benchmarks.models.machine import describe

    machine = describe("cpu")
    commit = [
        subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=c, capture_output=True, text=True
        ).stdout.strip()
        for c in (options.old, _HERE)
    ]
    heads = ["model", "arithmetic", "input"]
    for part in _PARTS:
        heads += [f"{part} old, ms", "new, ms", "ratio"]
    if options.memory:
        for part in _PARTS:
            heads += [f"{part} memory old, MB", "new, MB"]
    lines = [
        f"# Commit {commit[1]} against {commit[0]}",
        "",
        f"{machine['cpu']}, {' '.join(machine['instruction_sets'])}, {options.threads} threads; "
        f"medians of {options.rounds} rounds, both in turn; ratio: old over new, above 1 is "
        "faster. Memory: peak above what the loaded model and a tiny picture take. "
        "Written by `python -m benchmarks.against`.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
