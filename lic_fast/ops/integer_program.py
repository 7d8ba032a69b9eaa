"""Layers, norms, attention and gates of a portable network as steps on maps, in one call.

A program is for networks that are no mere chain of layers, such as TCM's attention modules. Its
parts are those of :mod:`lic_fast.runtime.integer`, with tensors for arrays.
Its maps are numbered; each is written by one step, as float32 or as activations, which are what
layers read. On the CPU ``csrc/integer`` runs the steps one after another, with the maps between
them in memory of its own, and several programs side by side, each on its share of the threads,
so that they do not wait for each other behind every step. The definition, :func:`reference`, and
what runs elsewhere, is each step's own operator with the quantisation behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy.typing as npt
import torch
from torch import Tensor, nn

from lic_fast import _C
from lic_fast.ops import exact
from lic_fast.ops.channels_last import array_of
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.exact_layer_norm import exact_layer_norm
from lic_fast.ops.exact_quantize import exact_quantize
from lic_fast.ops.exact_sigmoid import exact_sigmoid
from lic_fast.ops.exact_window_attention import exact_window_attention
from lic_fast.ops.integer_network import composed
from lic_fast.ops.threads import threads
from lic_fast.runtime.integer import (
    AttentionStep,
    ElementStep,
    GateStep,
    LayersStep,
    Map,
    NormStep,
    Program,
    QuantizeStep,
    Step,
    SubpixelStep,
    packed_program,
)

__all__ = [
    "LEAST_ROOTED",
    "Call",
    "IntegerProgram",
    "arrays_of",
    "reference",
    "run_programs",
]

LEAST_ROOTED = 2.0**-20
"""Roots are taken of this where a number is less, so that nothing is divided by zero."""


class IntegerProgram:
    """Steps on maps whose sides are those of the inputs, or whole multiples of them.

    Args:
        maps: All maps; their places in the list are what steps call them.
        steps: Each reads maps that are inputs or that earlier ones wrote.
        inputs: The maps that are given.
        outputs: The maps that are asked for. On the CPU all numbers are packed here, and must
            not be changed afterwards.

    Raises:
        ValueError: A step does not fit its maps, or a number is out of range.
        TypeError: A type is another.
    """

    def __init__(
        self,
        maps: Sequence[Map],
        steps: Sequence[Step],
        inputs: Sequence[int],
        outputs: Sequence[int],
    ) -> None:
        self.maps = tuple(maps)
        self.steps = tuple(steps)
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        program = Program(self.maps, self.steps, self.inputs, self.outputs)
        self.packed = packed_program(arrays_of(program))


Given = Sequence[Sequence[Tensor]]
"""For each map its halves, the high one first, or the one float32 tensor, (B, C, H, W)."""

Call = tuple[IntegerProgram, Given, Given]
"""A program, its inputs, and what its outputs are written to."""


def run_programs(calls: Sequence[Call]) -> None:
    """Runs programs side by side.

    Args:
        calls: Inputs are activations in 0..127 or finite float32, outputs are written; the
            channels of each are side by side in memory, be they some of those of a larger map.
            No program reads or writes what another one writes.

    Raises:
        ValueError: Shapes do not fit each other or the windows, a number is out of range, or an
            output overlaps another map.
        TypeError: A type is another.
    """
    if not all(
        exact_on_cpu(half) for _, inputs, _ in calls for halves in inputs for half in halves
    ):
        for program, inputs, outputs in calls:
            _copy(reference(program, inputs), outputs)
        return
    _C.run_integer_programs(
        [
            (
                program.packed,
                [[array_of(half) for half in halves] for halves in inputs],
                [[_array(half) for half in halves] for halves in outputs],
            )
            for program, inputs, outputs in calls
        ],
        threads(),
    )


def reference(program: IntegerProgram, inputs: Given) -> list[list[Tensor]]:
    """The definition: the outputs, as in :data:`Given`, of one step after another."""
    made = _Made(program.maps)
    for number, halves in zip(program.inputs, inputs, strict=True):
        made[number] = list(halves)
    for step in program.steps:
        if not isinstance(step, (LayersStep, SubpixelStep, ElementStep)):
            made[step.activations] = exact_quantize(_values(step, made), *step.quantizer)
            continue
        quantizer: Any
        if isinstance(step, LayersStep):
            *others, last = step.layers
            residual = None if step.residual is None else made[step.residual][0]
            x = made[step.x][: len(step.layers[0].border)]
            found = composed([*others, last._replace(output=None)], x, residual)
            values, quantizer = cast(Tensor, found), last.output
        elif isinstance(step, SubpixelStep):
            values, quantizer = _shuffled(step, made[step.x])
        else:
            values, quantizer = _element(step, made), step.quantizer
        if step.values is not None:
            made[step.values] = [values]
        if step.activations is not None:
            assert quantizer is not None
            made[step.activations] = exact_quantize(values, *quantizer)
    return [made[i] for i in program.outputs]


def _shuffled(step: SubpixelStep, x: list[Tensor]) -> tuple[Tensor, Any]:
    read = x[: len(step.layer.border)]
    wide = composed([step.layer._replace(output=None)], read, None)
    return nn.functional.pixel_shuffle(cast(Tensor, wide), step.up), step.layer.output


def _values(step: QuantizeStep | NormStep | AttentionStep | GateStep, made: _Made) -> Tensor:
    (x,) = made[step.x]
    if isinstance(step, GateStep):
        (gate,), (residual,) = made[step.gate], made[step.residual]
        return x * exact_sigmoid(gate) + residual
    if isinstance(step, QuantizeStep):
        return x
    tokens = x.permute(0, 2, 3, 1)
    if isinstance(step, NormStep):
        values = exact_layer_norm(tokens, step.weight, step.bias, step.inverse_step, step.epsilon)
    else:
        values = exact_window_attention(
            tokens,
            step.inverse_step,
            step.scale,
            step.table,
            step.value_step,
            window_size=step.window_size,
            shift=step.shift,
        )
    return values.permute(0, 3, 1, 2)


def _element(step: ElementStep, made: _Made) -> Tensor:
    (x,) = made[step.x]
    if step.y is None:
        return x * x
    (y,) = made[step.y]
    if step.element == "add":
        return x + y
    root = exact.sqrt(torch.where(y > LEAST_ROOTED, y, LEAST_ROOTED))
    return x * root if step.element == "times_root" else x / root


class _Made:
    """Maps that steps made, each as its halves or the one float32 tensor."""

    def __init__(self, maps: Sequence[Map]) -> None:
        self._maps = maps
        self._halves: dict[int, list[Tensor]] = {}

    def __getitem__(self, number: int) -> list[Tensor]:
        kind = self._maps[number]
        if kind.base is None:
            if number not in self._halves:
                parts = [i for i, other in enumerate(self._maps) if other.base == number]
                written = sorted((self._maps[i].first, i) for i in parts if i in self._halves)
                several = zip(*(self._halves[i] for _, i in written), strict=True)
                self._halves[number] = [torch.cat(half, 1) for half in several]
            return self._halves[number]
        if number in self._halves:
            return self._halves[number]
        return [half[:, kind.first : kind.first + kind.channels] for half in self[kind.base]]

    def __setitem__(self, number: int, halves: list[Tensor]) -> None:
        self._halves[number] = halves


def arrays_of(numbers: Any) -> Any:
    """The same with arrays in the place of tensors."""
    if isinstance(numbers, Tensor):
        return numbers.detach().contiguous().numpy()
    if isinstance(numbers, tuple) and hasattr(numbers, "_fields"):
        return type(numbers)(*map(arrays_of, numbers))
    return [arrays_of(one) for one in numbers] if isinstance(numbers, (list, tuple)) else numbers


def _array(out: Tensor) -> npt.NDArray[Any]:
    return out.permute(0, 2, 3, 1).numpy()


def _copy(results: list[list[Tensor]], outputs: Given) -> None:
    for halves, into in zip(results, outputs, strict=True):
        for half, to in zip(halves, into, strict=True):
            if (half.shape, half.dtype) != (to.shape, to.dtype):
                shapes = f"{tuple(half.shape)} {half.dtype}, not {tuple(to.shape)} {to.dtype}"
                raise ValueError(f"out must be {shapes}")
            to.copy_(half)
