"""Peak memory of one contender, measured in a process of its own.

`python -m benchmarks.models.memory MODEL INPUT CONTENDER THREADS DEVICE FOLDER` prints it as JSON.
"""

from __future__ import annotations

import gc
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.models.contenders import CONTENDERS
from benchmarks.models.nets import Input, build

_KIBIBYTE = 1024
_MEGABYTE = 1e6


def of_contender(
    model: str, size: Input, contender: str, threads: int, device: str, folder: Path
) -> dict[str, float] | None:
    """Megabytes of `encode` and of `decode`, or None where the system does not tell.

    Both are the process's peak above what it held with the model loaded and a tiny picture
    encoded and decoded, so they include what the contender keeps besides: converted weights,
    compiled code. What the conversion needed for a time is not in them. `folder` is that of
    :class:`benchmarks.models.contenders.Contender`.
    """
    arguments = [model, str(size), contender, str(threads), device, str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.models.memory", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {contender} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures in this process."""
    name, size, contender_name, threads, device, folder = sys.argv[1:]
    torch.set_num_threads(int(threads))
    contender = CONTENDERS[contender_name]
    model = build(name).to(device)
    with contender.active():
        tiny = Input(model.multiple, model.multiple).picture().to(device)
        model.decode(model.encode(tiny))
        before = _now(device)
        x = Input.parse(size).padded(model.multiple).picture().to(device)
        contender.prepare(model, x, Path(folder))
        gc.collect()
        peaks = {}
        if _reset_peak(device):
            streams = model.encode(x)
            peaks["encode"] = (_peak(device) - before) / _MEGABYTE
            _reset_peak(device)
            model.decode(streams)
            peaks["decode"] = (_peak(device) - before) / _MEGABYTE
    print(json.dumps(peaks or None))


def _now(device: str) -> int:
    if device == "cuda":
        return torch.cuda.memory_allocated()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    # Not getrusage's, which counts the process that this one was forked from.
    (line,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * _KIBIBYTE


def _reset_peak(device: str) -> bool:
    """Whether the peak now is what is held now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
