"""Layers, norms, attention and gates of a portable network as steps on maps, in one call.

A program is for networks that are no mere chain of layers, such as TCM's attention modules.
Its maps are numbered; each is written by one step, as float32 or as activations, which are what
layers read. On the CPU ``csrc/integer`` runs the steps one after another, with the maps between
them in memory of its own, and several programs side by side, each on its share of the threads,
so that they do not wait for each other behind every step. The definition, :func:`reference`, and
what runs elsewhere, is each step's own operator with the quantisation behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any, NamedTuple, cast

import numpy.typing as npt
import torch
from torch import Tensor, nn

from lic_fast import _C
from lic_fast.ops.channels_last import array_of
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.exact_layer_norm import exact_layer_norm
from lic_fast.ops.exact_quantize import exact_quantize
from lic_fast.ops.exact_sigmoid import exact_sigmoid
from lic_fast.ops.exact_window_attention import bias_of_pairs, exact_window_attention
from lic_fast.ops.integer_layer import Quantizer, pack
from lic_fast.ops.integer_network import Layer, composed
from lic_fast.ops.threads import threads

__all__ = [
    "AttentionStep",
    "Call",
    "GateStep",
    "IntegerProgram",
    "LayersStep",
    "Map",
    "NormStep",
    "QuantizeStep",
    "Step",
    "SubpixelStep",
    "reference",
    "run_programs",
]


class Map(NamedTuple):
    """A map: of float32, or of so many halves of activations.

    Its sides are `scale` times those of the program's inputs.
    """

    channels: int
    halves: int = 0
    scale: int = 1


class LayersStep(NamedTuple):
    """Layers of stride 1 on activations, as :class:`lic_fast.ops.integer_network.IntegerNetwork`.

    Attributes:
        layers: At least one. The last one's quantizer makes `activations`.
        x: The map that the first one reads.
        residual: Added by the last one, or None.
        values: The last one's output in float32, or None.
        activations: The same as activations, or None without a quantizer.
    """

    layers: Sequence[Layer]
    x: int
    residual: int | None
    values: int | None
    activations: int | None


class SubpixelStep(NamedTuple):
    """A layer and a pixel shuffle.

    Attributes:
        phases: A layer for each of the r x r pixels that the shuffle makes of one, by rows; of
            stride 1, all with the same quantizer or with none.
        x: The map that they read.
        values: The output in float32, or None.
        activations: The same as activations, or None without a quantizer.
    """

    phases: Sequence[Layer]
    x: int
    values: int | None
    activations: int | None


class QuantizeStep(NamedTuple):
    """Activations of a map of float32."""

    quantizer: Quantizer
    x: int
    activations: int


class NormStep(NamedTuple):
    """Activations of :func:`lic_fast.ops.exact_layer_norm.exact_layer_norm` of the channels."""

    weight: Tensor
    bias: Tensor
    inverse_step: Tensor
    epsilon: Tensor
    quantizer: Quantizer
    x: int
    activations: int


class AttentionStep(NamedTuple):
    """Activations of :func:`lic_fast.ops.exact_window_attention.exact_window_attention`."""

    inverse_step: Tensor
    scale: Tensor
    table: Tensor
    value_step: Tensor
    window_size: int
    shift: int
    quantizer: Quantizer
    x: int
    activations: int


class GateStep(NamedTuple):
    """Activations of x * sigmoid(gate) + residual."""

    quantizer: Quantizer
    x: int
    gate: int
    residual: int
    activations: int


Step = LayersStep | SubpixelStep | QuantizeStep | NormStep | AttentionStep | GateStep


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
        packed = [_packed(step) for step in steps]
        self.packed = _C.IntegerProgram(self.maps, packed, self.inputs, self.outputs)


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
    made: dict[int, list[Tensor]] = {
        i: list(halves) for i, halves in zip(program.inputs, inputs, strict=True)
    }
    for step in program.steps:
        if isinstance(step, LayersStep):
            *others, last = step.layers
            residual = None if step.residual is None else made[step.residual][0]
            x = made[step.x][: len(step.layers[0].border)]
            values = composed([*others, last._replace(output=None)], x, residual)
            assert isinstance(values, Tensor)
            if step.values is not None:
                made[step.values] = [values]
            if step.activations is not None:
                assert last.output is not None
                made[step.activations] = exact_quantize(values, *last.output)
        elif isinstance(step, SubpixelStep):
            values, quantizer = _shuffled(step, made[step.x])
            if step.values is not None:
                made[step.values] = [values]
            if step.activations is not None:
                assert quantizer is not None
                made[step.activations] = exact_quantize(values, *quantizer)
        else:
            made[step.activations] = exact_quantize(_values(step, made), *step.quantizer)
    return [made[i] for i in program.outputs]


def _shuffled(step: SubpixelStep, x: list[Tensor]) -> tuple[Tensor, Quantizer | None]:
    read = x[: len(step.phases[0].border)]
    phases = [composed([layer._replace(output=None)], read, None) for layer in step.phases]
    # Channels before a shuffle are (M, r, r).
    wide = torch.stack([cast(Tensor, phase) for phase in phases], 2).flatten(1, 2)
    return nn.functional.pixel_shuffle(wide, isqrt(len(phases))), step.phases[0].output


def _values(
    step: QuantizeStep | NormStep | AttentionStep | GateStep, made: dict[int, list[Tensor]]
) -> Tensor:
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


def _packed(step: Step) -> Any:
    if isinstance(step, LayersStep):
        network = _C.IntegerNetwork([pack(*layer) for layer in step.layers])
        return _C.LayersStep(network, step.x, step.residual, step.values, step.activations)
    if isinstance(step, SubpixelStep):
        phases = [_C.IntegerNetwork([pack(*layer)]) for layer in step.phases]
        return _C.SubpixelStep(phases, step.x, step.values, step.activations)
    quantizer = _C.IntegerQuantizer(
        _numbers(step.quantizer.inverse_step), _numbers(step.quantizer.zero), step.quantizer.bits
    )
    if isinstance(step, QuantizeStep):
        return _C.QuantizeStep(quantizer, step.x, step.activations)
    if isinstance(step, GateStep):
        return _C.GateStep(quantizer, step.x, step.gate, step.residual, step.activations)
    if isinstance(step, NormStep):
        return _C.NormStep(
            _numbers(step.weight),
            _numbers(step.bias),
            step.inverse_step.item(),
            step.epsilon.item(),
            quantizer,
            step.x,
            step.activations,
        )
    positions = (2 * step.window_size - 1) ** 2
    if step.table.shape != (positions, len(step.scale)):
        raise ValueError(
            f"table must be {(positions, len(step.scale))} for a window of {step.window_size}, "
            f"not {tuple(step.table.shape)}"
        )
    return _C.AttentionStep(
        _numbers(step.inverse_step),
        _numbers(step.scale),
        _numbers(bias_of_pairs(step.table, step.window_size)),
        _numbers(step.value_step),
        step.window_size,
        step.shift,
        quantizer,
        step.x,
        step.activations,
    )


def _numbers(x: Tensor) -> npt.NDArray[Any]:
    return x.detach().contiguous().numpy()


def _array(out: Tensor) -> npt.NDArray[Any]:
    return out.permute(0, 2, 3, 1).numpy()


def _copy(results: list[list[Tensor]], outputs: Given) -> None:
    for halves, into in zip(results, outputs, strict=True):
        for half, to in zip(halves, into, strict=True):
            if (half.shape, half.dtype) != (to.shape, to.dtype):
                shapes = f"{tuple(half.shape)} {half.dtype}, not {tuple(to.shape)} {to.dtype}"
                raise ValueError(f"out must be {shapes}")
            to.copy_(half)
