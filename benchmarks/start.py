"""How long a codec takes to start: commands from the shell to their end, and a first picture.

python -m benchmarks.start PICTURE -o benchmarks/results/start.md
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import processor, write

FIRST = """
import numpy as np
from lic_fast import codec, runtime, zoo
model = runtime.load(zoo.path(zoo.DEFAULT))
pixels = np.zeros((64, 64, 3), np.uint8)
codec.decode_image(codec.encode_image(pixels, model), model)
"""


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds until a process ended, and the most memory that it had, in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Measures, and writes a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        coded, decoded = f"{folder}/coded.lic", f"{folder}/decoded.png"
        command = [sys.executable, "-m", "lic_fast"]
        jobs = {
            f"`lic-fast compress` ({options.picture.name})": [
                *command, "compress", str(options.picture), "-o", coded, "--overwrite",
            ],
            "`lic-fast decompress` of it": [
                *command, "decompress", coded, "-o", decoded, "--overwrite",
            ],
            "`lic-fast info` of it": [*command, "info", coded],
            "load the default model, code and decode 64x64": [sys.executable, "-c", FIRST],
            "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
            "python -c 'import compressai'": [sys.executable, "-c", "import compressai"],
        }  # fmt: skip
        found = {name: [] for name in jobs}
        for _ in range(options.rounds):
            for name, job in jobs.items():
                found[name].append(measured(job))
    lines = [
        "# Start of the command line",
        "",
        f"`python -m benchmarks.start {options.picture.name}`; {processor()}; "
        f"medians of {options.rounds} runs of each in turn, files in the system's cache. Time from "
        "the start of the process to its end, and the largest resident memory.",
        "",
        "| | seconds | MB |",
        "|---|---|---|",
    ]
    for name, runs in found.items():
        seconds, memory = (statistics.median(column) for column in zip(*runs, strict=True))
        lines.append(f"| {name} | {seconds:.2f} | {memory:.0f} |")
    write(lines, options.output)


if __name__ == "__main__":
    main()
