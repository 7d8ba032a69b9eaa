"""Encoding and decoding on a GPU: what is right, and what it takes.

    python -m benchmarks.gpu -o gpu.json

For each model and arithmetic, on a noise picture, with random weights as
:mod:`benchmarks.models.nets` makes them:

- "reference": plain PyTorch operators;
- "fused": the kernels, entropy path in float32;
- "portable": a model that :func:`lic_fast.make_portable` made, whose symbols must be the CPU's.

The fused and the portable ones with CUDA graphs and without. Times are of whole calls of
``encode`` and ``decode`` between two synchronisations of the device, the least and the median.
`--device cpu` runs the same script where there is no GPU. No GPU has run it yet.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lic_fast
from benchmarks.models.nets import MODELS, Input, build
from lic_fast.models import SliceCompressionModel

ARITHMETICS = ("reference", "fused", "portable")


def timed(run: Callable[[], Any], device: torch.device, repeats: int) -> dict[str, float]:
    """Milliseconds of a call, after as many as it takes to record graphs."""
    times = []
    for i in range(3 + repeats):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        if i >= 3:
            times.append(1e3 * (time.perf_counter() - start))
    return {"least_ms": min(times), "median_ms": statistics.median(times)}


def synchronize(device: torch.device) -> None:
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(
    model: SliceCompressionModel, x: Tensor, backend: str, repeats: int
) -> tuple[dict[str, Any], Tensor, list[int]]:
    """Times, the decoded picture and the checksums of the symbols."""
    with lic_fast.backend(backend):  # type: ignore[arg-type]
        streams = model.encode(x)
        out = model.decode(streams)
        result = {
            "encode": timed(lambda: model.encode(x), x.device, repeats),
            "decode": timed(lambda: model.decode(streams), x.device, repeats),
            "bytes": sum(map(len, streams.y + streams.z)),
            "precision": model.precision,
        }
        # Played back, or computed again, it is the same.
        again = model.encode(x)
        result["repeatable"] = again.y == streams.y and torch.equal(model.decode(again), out)
    assert streams.checksums is not None
    return result, out, streams.checksums


def cases(
    name: str, picture: Tensor, device: torch.device, precision: str, repeats: int
) -> list[dict[str, Any]]:
    """What one model takes in each arithmetic, and how far it is from the reference."""
    plain = build(name)
    rows: list[dict[str, Any]] = []
    expected: Tensor | None = None
    for arithmetic in ARITHMETICS:
        model = copy.deepcopy(plain)
        symbols: list[int] | None = None
        if arithmetic == "portable":
            model = lic_fast.make_portable(model, [picture[0]])
            symbols = model.encode(picture).checksums
        model = model.to(device)
        model.precision = "float32" if arithmetic == "reference" else precision  # type: ignore[assignment]
        backend = "reference" if arithmetic == "reference" else "auto"
        for graphs in (True, False) if device.type == "cuda" else (False,):
            model.cuda_graphs = graphs
            result, out, checksums = measured(model, picture.to(device), backend, repeats)
            expected = out if expected is None else expected
            row = {"model": name, "arithmetic": arithmetic, "graphs": graphs, **result}
            row["rms_from_reference"] = float((out - expected).double().square().mean().sqrt())
            if symbols is not None and model.precision == "float32":
                # Analysis in floating point rounds otherwise; few symbols may, so this is noted.
                row["symbols_as_on_cpu"] = checksums == symbols
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=Input.parse, default=Input(768, 512), help="WIDTHxHEIGHT")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--precision", default="float32", help="of the fused transforms")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path, help="JSON; standard output if left out")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    report = {
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or "cpu",
        "torch": torch.__version__,
        "size": str(options.size),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "cases": [
            row
            for name in options.models
            for row in cases(
                name, options.size.picture(), device, options.precision, options.repeats
            )
        ],
    }
    text = json.dumps(report, indent=1) + "\n"
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
