"""Where a part of a model spends its time on the CPU, by operator and shape."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.models.nets import Input, build
from benchmarks.models.parts import works
from lic_fast import _C
from lic_fast.ops import onednn, row_products, tile_convolution, winograd

__all__ = ["profile_transform"]

_ROUNDS = 5


def profile_transform(name: str, precision: str, part: str) -> None:
    """Prints the calls that take most of a part at 768x512, and what each kind takes in all.

    Args:
        name: STF, WACNN or TCM, with random weights.
        precision: Of the transforms.
        part: One of :func:`benchmarks.models.parts.works`.
    """
    model = build(name)
    model.precision = precision  # type: ignore[assignment]
    work = works(model, Input(768, 512).padded(model.multiple).picture())[part]
    for _ in range(3):
        work()
    clock = []
    with _watched() as times:
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            work()
            clock.append(time.perf_counter() - begin)
    whole = sum(clock) / _ROUNDS
    print(f"\n## {name}, {precision}, {part}: {whole * 1e3:.0f} ms\n")
    kinds: dict[str, float] = defaultdict(float)
    for (kind, _), (seconds, _) in times.items():
        kinds[kind] += seconds / _ROUNDS
    kinds["the rest"] = whole - sum(kinds.values())
    print("| operator | milliseconds |\n|---|---|")
    for kind, seconds in sorted(kinds.items(), key=lambda item: -item[1]):
        print(f"| {kind} | {seconds * 1e3:.1f} |")
    print("\n| call | milliseconds | calls |\n|---|---|---|")
    for (kind, shape), (seconds, count) in sorted(times.items(), key=lambda t: -t[1][0])[:20]:
        print(f"| {kind}, {shape} | {seconds / _ROUNDS * 1e3:.1f} | {count // _ROUNDS} |")


_Times = dict[tuple[str, str], tuple[float, int]]


@contextmanager
def _watched() -> Iterator[_Times]:
    """Within the block every call of the operators' fast paths is timed."""
    times: _Times = defaultdict(lambda: (0.0, 0))
    undone: list[tuple[Any, str, Any]] = []

    def watch(owner: Any, method: str, kind: str, shape: Callable[..., str]) -> None:
        original = getattr(owner, method)

        def timed(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            result = original(*arguments, **options)
            passed = time.perf_counter() - begin
            key = kind, shape(*arguments, **options)
            seconds, count = times[key]
            times[key] = seconds + passed, count + 1
            return result

        undone.append((owner, method, original))
        setattr(owner, method, timed)

    def sides(x: Any) -> str:
        return "x".join(map(str, x.shape))

    def mapped(self: Any, x: torch.Tensor, *_: Any, second: Any = None, **__: Any) -> str:
        half = "" if second is None else f" to {second._outputs}"
        return f"{sides(x)} to {self._outputs}{half}"

    def packed(self: Any, x: torch.Tensor, *_: Any, **__: Any) -> str:
        return f"{sides(x)} to {'x'.join(map(str, self._packed.shape))}"

    watch(row_products.Linear, "__call__", "linear maps", mapped)
    watch(row_products.Linear, "normalise", "GDN", lambda self, x, *_: sides(x))
    watch(winograd.Convolution, "__call__", "filtered convolutions", mapped)
    watch(tile_convolution.Convolution, "__call__", "convolutions by tiles", mapped)
    for kind in (onednn.Convolution, onednn.TransposedConvolution):
        watch(kind, "__call__", "oneDNN's convolutions", packed)
    watch(onednn.Linear, "__call__", "oneDNN's linear maps", packed)
    watch(_C, "window_attention", "window attention", lambda x, *_, **__: sides(x))
    for name in ("layer_norm", "residual_sum", "gate"):
        watch(_C, name, "norms, sums and gates", lambda x, *_, **__: sides(x))
    watch(_C, "hash_of_samples", "stamps of weights", lambda *_: "all")
    try:
        yield times
    finally:
        for owner, method, original in reversed(undone):
            setattr(owner, method, original)
