"""Turns the JSON of `python -m benchmarks.models` into Markdown tables.

python benchmarks/report_models.py build/models.json > benchmarks/results/models.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

BASE = "reference"
MISSING = "–"
NAMES = {"openvino f32": "OpenVINO, f32", "openvino bf16": "OpenVINO, bf16"}
TRANSFORM_OF = {
    "analysis": "analysis",
    "encode": "analysis",
    "synthesis": "synthesis",
    "decode": "synthesis",
}


def main() -> None:
    """Reads the file that is named and prints the report."""
    print("\n".join(lines(json.loads(Path(sys.argv[1]).read_text()))))


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The Markdown, line by line."""
    machine, settings = report["machine"], report["settings"]
    where = machine["gpu"] or f"{machine['threads']} of {machine['cores']} cores"
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    yield "# Whole models, part by part"
    yield ""
    rounds, convolution = settings["rounds"], settings["convolution_of_the_floor"]
    times = "times" if rounds == 1 else f"medians of {rounds} rounds"
    yield f"`{settings.get('command', 'make bench-models')}`:"
    yield f"{times}, in milliseconds. Each round runs every contender once. In brackets: how many"
    yield "times faster than the reference of the same run, and the share reached of the floor, the"
    yield "part's arithmetic (convolutions and matrix products) at the best rate of the"
    yield "same run, in the contender's type (for bfloat16 float32's, where that is better), of a"
    yield f"convolution ({convolution}), computed"
    yield "directly. Minimal filtering multiplies less and may so pass the floor."
    yield "Random weights whose latents cost about what a trained model's do."
    yield ""
    yield f"{machine['cpu']}, {where}, {' '.join(machine['instruction_sets'])}; {versions};"
    yield f"{report['date']}."
    yield ""
    yield from (f"- **{part}**: {what}" for part, what in report["parts"].items())
    yield ""
    yield "`reference` and `auto` are lic_fast's backends, plain PyTorch and the fast operators."
    yield "torch.compile (with freezing on the CPU) and OpenVINO have each network of the reference"
    yield "by itself, for one shape: the transforms, the hyper networks, those of the slices. With"
    yield "OpenVINO's bf16 all of these compute in bfloat16; with auto bf16 the transforms do. The"
    yield "portable model has bfloat16 transforms and an entropy path of integers; its floor counts"
    yield "each layer once, as if all activations had 7 bits; most have 14."
    for case in report["cases"]:
        yield from case_lines(case, report["contenders"])


def case_lines(case: Mapping[str, Any], contenders: Mapping[str, Any]) -> Iterator[str]:
    """One model and one input: its heading, its table and what there is to say of them."""
    present = [name for name in contenders if name in case["bits_per_pixel"]]
    size = case["input"]
    if case["padded"] != size:
        size += f" (padded to {case['padded']})"
    yield ""
    yield f"## {case['model']}, {size}"
    yield ""
    yield f"| | {' | '.join(NAMES.get(name, name) for name in present)} |"
    yield "|---" * (len(present) + 1) + "|"
    for part, seconds in case["seconds"].items():
        flops = case["flops"].get(part)
        title = f"{part}, {flops / 1e9:.0f} GFLOP" if flops else part
        yield f"| {title} | {' | '.join(cells(case, contenders, part, seconds, present))} |"
    for operation in ("encode", "decode"):
        peaks = [(case["peak_megabytes"].get(name) or {}).get(operation) for name in present]
        if any(peak is not None for peak in peaks):
            shown = (MISSING if peak is None else f"{peak:.0f}" for peak in peaks)
            yield f"| peak memory of {operation}, MB | {' | '.join(shown)} |"
    yield ""
    rates = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in case["rates"].items())
    others = case["conditions"]["others_share_of_cpu"]
    bits = case["bits_per_pixel"][present[0]]
    yield f"Rates of the floor: {rates}. {bits:.2f} bits per pixel."
    yield f"Other processes used {others:.0%} of the machine's processors meanwhile."
    for name, why in case["absent"].items():
        yield f"No {NAMES.get(name, name)}: {why}."


def cells(
    case: Mapping[str, Any],
    contenders: Mapping[str, Any],
    part: str,
    seconds: Mapping[str, list[float]],
    present: list[str],
) -> Iterator[str]:
    """The figures of one part, contender by contender."""
    for name in present:
        time = median(seconds[name])
        notes = []
        if name != BASE and BASE in present:
            notes.append(f"{median(seconds[BASE]) / time:.2f}×")
        floor = floor_seconds(part, case["flops"], case["rates"], **contenders[name])
        if floor is not None:
            notes.append(f"{floor / time:.0%}")
        digits = 2 if time < 0.01 else 0
        yield f"{1e3 * time:.{digits}f}" + (f" ({', '.join(notes)})" if notes else "")


def floor_seconds(
    part: str,
    flops: Mapping[str, int],
    rates: Mapping[str, float],
    transforms: str,
    entropy_path: str,
) -> float | None:
    """The least time of a part, or None if it does no arithmetic that is counted.

    Args:
        part: Its name.
        flops: Operations of each part.
        rates: Operations per second of each type.
        transforms: Type in which the contender's analysis and synthesis compute.
        entropy_path: Type in which everything else computes.
    """
    if not flops.get(part):
        return None
    own = flops[TRANSFORM_OF[part]] if part in TRANSFORM_OF else 0

    def rate(dtype: str) -> float:
        return max(rates[dtype], rates["float32"]) if dtype == "bfloat16" else rates[dtype]

    return own / rate(transforms) + (flops[part] - own) / rate(entropy_path)


if __name__ == "__main__":
    main()
