"""python -m benchmarks.models -o build/models.json: see the package.

Writes what it has as soon as it has it, so that a run that is cut short is not lost.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.models import memory
from benchmarks.models.contenders import CONTENDERS, UnavailableError
from benchmarks.models.floors import CONVOLUTION, convolution, count_flops
from benchmarks.models.machine import describe
from benchmarks.models.measure import Turn, rounds
from benchmarks.models.nets import MODELS, TITLES, Input, build
from benchmarks.models.parts import PARTS, bits_per_pixel, works

_RATE = "rate"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}


def main() -> None:
    """Measures and writes the file; all contenders in one process."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe(options.device),
        "settings": {
            "command": command(sys.argv[1:]),
            "device": options.device,
            "rounds": options.rounds,
            "convolution_of_the_floor": CONVOLUTION,
        },
        "parts": {part: PARTS[part] for part in options.parts},
        "contenders": {
            name: {
                "transforms": CONTENDERS[name].transforms,
                "entropy_path": CONTENDERS[name].entropy_path,
            }
            for name in options.contenders
        },
        "cases": [],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for size in options.inputs:
        for name in options.models:
            with tempfile.TemporaryDirectory() as folder:
                case = _times(name, size, options, Path(folder))
                report["cases"].append(case)
                _write(report, options.output)
                if not options.no_memory:
                    case["peak_megabytes"] = _peaks(name, size, case, options.device, Path(folder))
                    _write(report, options.output)


def command(arguments: list[str]) -> str:
    """What makes such a report, but for where it goes."""
    kept = list(arguments)
    for name in ("-o", "--output"):
        if name in kept:
            at = kept.index(name)
            del kept[at : at + 2]
    return shlex.join(["python", "-m", "benchmarks.models", *kept])


def _write(report: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.models", description="Times whole models, part by part."
    )

    def choice(name: str, choices: Any, what: str) -> None:
        parser.add_argument(name, nargs="+", choices=choices, default=list(choices), help=what)

    choice("--models", MODELS, "all by default")
    choice("--contenders", CONTENDERS, "all by default; those that cannot run are left out")
    choice("--parts", PARTS, "all by default")
    parser.add_argument(
        "--inputs",
        nargs="+",
        type=Input.parse,
        default=[Input(768, 512)],
        metavar="WIDTHxHEIGHT[xBATCH]",
        help="sides are rounded up to what each model takes (768x512)",
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, help="torch's default if left out")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/models.json"))
    return parser.parse_args()


@torch.no_grad()
def _times(name: str, size: Input, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All contenders on one model and one size of input."""
    device = options.device
    model = build(name).to(device)
    padded = size.padded(model.multiple)
    x = padded.picture().to(device)
    turns: dict[tuple[str, str], Turn] = {}
    absent: dict[str, str] = {}
    bits: dict[str, float] = {}
    for contender_name in options.contenders:
        contender = CONTENDERS[contender_name]
        _say(f"{name}, {padded}: preparing {contender_name}")
        try:
            own = contender.model(model, x, folder)
        except UnavailableError as error:
            absent[contender_name] = str(error)
            continue
        with contender.active():
            bits[contender_name] = bits_per_pixel(own, x)
            own_works = works(own, x)
        for part in options.parts:
            turns[part, contender_name] = Turn(own_works[part], contender.active)
    reference = CONTENDERS["reference"]
    with reference.active():
        counted = {part: work for part, work in works(model, x).items() if "entropy" not in part}
        flops = {part: count_flops(work) for part, work in counted.items()}
    rate_flops = {}
    of_contenders = {CONTENDERS[who].entropy_path for who in bits}
    for dtype_name, dtype in _DTYPES.items():
        if dtype_name == "int8" and dtype_name not in of_contenders:
            continue
        work, rate_flops[dtype_name] = convolution(dtype, device)
        turns[_RATE, dtype_name] = Turn(work, reference.active)
    # By parts: contenders whose ratios are wanted run within seconds of each other.
    order = sorted(turns, key=lambda key: [*options.parts, _RATE].index(key[0]))
    times, conditions = rounds(
        {key: turns[key] for key in order},
        options.rounds,
        device,
        lambda i: _say(f"{name}, {padded}: round {i + 1} of {options.rounds}"),
    )
    return {
        "model": TITLES[name],
        "input": str(size),
        "padded": str(padded),
        "flops": flops,
        "rates": {
            dtype_name: count / min(times[_RATE, dtype_name])
            for dtype_name, count in rate_flops.items()
        },
        "seconds": {part: {who: times[part, who] for who in bits} for part in options.parts},
        "bits_per_pixel": bits,
        "peak_megabytes": {},
        "absent": absent,
        "conditions": conditions,
    }


def _peaks(
    name: str, size: Input, case: dict[str, Any], device: str, folder: Path
) -> dict[str, Any]:
    """Memory of the contenders that have times."""
    peaks = {}
    for contender in case["bits_per_pixel"]:
        _say(f"{name}, {case['padded']}: memory of {contender}")
        peaks[contender] = memory.of_contender(
            name, size, contender, torch.get_num_threads(), device, folder
        )
    return peaks


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
