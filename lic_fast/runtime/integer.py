"""Programs of integer networks: numbered maps, and the steps that make them.

``csrc/integer`` runs the steps one after another with the maps between them in memory of its own.
``docs/portable.md`` says what each computes; :mod:`lic_fast.ops.integer_program` is its definition
in PyTorch. A map holds float32, or activations: integers of 7 bits, or of 14 in two halves of 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from lic_fast import _C

__all__ = [
    "Activation",
    "AttentionStep",
    "Element",
    "ElementStep",
    "GateStep",
    "Layer",
    "LayersStep",
    "Map",
    "NormStep",
    "Program",
    "QuantizeStep",
    "Quantizer",
    "Step",
    "SubpixelStep",
    "packed_layers",
    "packed_program",
]

Array = Any
"""A numpy array; in :mod:`lic_fast.ops` a tensor."""

Activation = Literal["none", "relu", "leaky_relu", "gelu"]

Element = Literal["add", "square", "times_root", "over_root"]

HALF_BITS = 7


class Quantizer(NamedTuple):
    """How a float32 map becomes activations: clamp(round(x * inverse_step) + zero, 0, 2^bits - 1).

    Attributes:
        inverse_step: (N,) float32: steps in one unit, per channel.
        zero: (N,) int32 in 0..2^bits - 1: the activation that stands for zero.
        bits: 7, or 14 in two halves.
    """

    inverse_step: Array
    zero: Array
    bits: int


class Layer(NamedTuple):
    """The parameters of a layer, as :func:`lic_fast.ops.integer_layer.integer_layer` has them.

    Attributes:
        weight: (M, N / groups, k, k) int8, k odd.
        bias: (M,) int32, in units of the sums.
        scale: (M,) float32, what a unit of the sums stands for.
        border: (N,) uint8 for each half that is read: the activations beyond the edges.
        stride: Steps along rows and columns, 1..k.
        groups: Groups that N and M divide into.
        activation: After the sums.
        output: The quantizer of the result, or None for float32.
    """

    weight: Array
    bias: Array
    scale: Array
    border: Sequence[Array]
    stride: int = 1
    groups: int = 1
    activation: Activation = "none"
    output: Quantizer | None = None


class Map(NamedTuple):
    """A map: of float32, or of so many halves of activations.

    Its sides are `scale` times those of the program's inputs. With a base it is some of the
    channels of that map, from `first` on.
    """

    channels: int
    halves: int = 0
    scale: int = 1
    base: int | None = None
    first: int = 0


class LayersStep(NamedTuple):
    """Layers of stride 1 one after another, on activations.

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
        layer: Of stride 1, to M * r * r channels in PyTorch's order, (M, r, r); its quantizer, if
            it has one, is of the M channels that the shuffle leaves.
        up: r.
        x: The map that it reads.
        values: The output in float32, or None.
        activations: The same as activations, or None without a quantizer.
    """

    layer: Layer
    up: int
    x: int
    values: int | None
    activations: int | None

    def phases(self) -> list[Layer]:
        """A layer for each of the r x r pixels that the shuffle makes of one, by rows."""
        layer, pixels = self.layer, self.up * self.up
        return [
            layer._replace(
                weight=layer.weight[k::pixels],
                bias=layer.bias[k::pixels],
                scale=layer.scale[k::pixels],
            )
            for k in range(pixels)
        ]


class QuantizeStep(NamedTuple):
    """Activations of a map of float32."""

    quantizer: Quantizer
    x: int
    activations: int


class NormStep(NamedTuple):
    """Activations of :func:`lic_fast.ops.exact_layer_norm.exact_layer_norm` of the channels."""

    weight: Array
    bias: Array
    inverse_step: Array
    epsilon: Array
    quantizer: Quantizer
    x: int
    activations: int


class AttentionStep(NamedTuple):
    """Activations of :func:`lic_fast.ops.exact_window_attention.exact_window_attention`."""

    inverse_step: Array
    scale: Array
    table: Array
    value_step: Array
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


class ElementStep(NamedTuple):
    """Of each number x + y, x * x, x * sqrt(max(y, 2^-20)) or x / sqrt(max(y, 2^-20)).

    Attributes:
        element: Which of them: "add", "square", "times_root" or "over_root".
        quantizer: Of the activations, or None.
        x: A map of float32.
        y: Another one; None for squares.
        values: The result in float32, or None.
        activations: The same as activations, or None without a quantizer.
    """

    element: Element
    quantizer: Quantizer | None
    x: int
    y: int | None
    values: int | None
    activations: int | None


Step = LayersStep | SubpixelStep | QuantizeStep | NormStep | AttentionStep | GateStep | ElementStep


class Program(NamedTuple):
    """Steps on maps.

    Attributes:
        maps: Their places in the list are what steps call them.
        steps: Each reads maps that are inputs or that earlier ones wrote.
        inputs: The maps that are given.
        outputs: The maps that are asked for.
    """

    maps: Sequence[Map]
    steps: Sequence[Step]
    inputs: Sequence[int]
    outputs: Sequence[int]


def packed_layers(layers: Sequence[Layer]) -> _C.IntegerNetwork:
    """Layers of arrays as what the CPU computes them with.

    Raises:
        ValueError: Shapes do not fit each other, or a number is out of range.
        TypeError: A type is another.
    """
    return _C.IntegerNetwork([_packed_layer(layer) for layer in layers])


def _packed_layer(layer: Layer) -> _C.IntegerLayer:
    output = layer.output
    return _C.IntegerLayer(
        np.ascontiguousarray(layer.weight),
        np.ascontiguousarray(layer.bias),
        np.ascontiguousarray(layer.scale),
        list(layer.border),
        layer.stride,
        layer.groups,
        layer.activation,
        None if output is None else tuple(output),
    )


def packed_program(program: Program) -> _C.IntegerProgram:
    """A program of arrays as what the CPU runs.

    Raises:
        ValueError: A step does not fit its maps, or a number is out of range.
        TypeError: A type is another.
    """
    steps = [_PACKED[type(step)](step) for step in program.steps]
    return _C.IntegerProgram(list(program.maps), steps, program.inputs, program.outputs)


def _quantizer(quantizer: Quantizer) -> _C.IntegerQuantizer:
    return _C.IntegerQuantizer(*quantizer)


def _layers(step: LayersStep) -> Any:
    network = packed_layers(step.layers)
    return _C.LayersStep(network, step.x, step.residual, step.values, step.activations)


def _subpixel(step: SubpixelStep) -> Any:
    channels = len(step.layer.weight)
    if step.up < 1 or channels < step.up**2 or channels % step.up**2:
        raise ValueError(f"{channels} channels are not of {step.up} x {step.up} pixels")
    phases = [packed_layers([phase]) for phase in step.phases()]
    return _C.SubpixelStep(phases, step.x, step.values, step.activations)


def _quantize(step: QuantizeStep) -> Any:
    return _C.QuantizeStep(_quantizer(step.quantizer), step.x, step.activations)


def _norm(step: NormStep) -> Any:
    numbers = step.weight, step.bias, step.inverse_step.item(), step.epsilon.item()
    return _C.NormStep(*numbers, _quantizer(step.quantizer), step.x, step.activations)


def _attention(step: AttentionStep) -> Any:
    size = step.window_size
    if not 1 <= size <= 8 or step.table.shape != ((2 * size - 1) ** 2, len(step.scale)):
        raise ValueError(
            f"table must be {((2 * size - 1) ** 2, len(step.scale))} for a window of {size}, not "
            f"{tuple(step.table.shape)}; a window is at most 8"
        )
    return _C.AttentionStep(
        step.inverse_step,
        step.scale,
        _bias_of_pairs(step.table, size),
        step.value_step,
        size,
        step.shift,
        _quantizer(step.quantizer),
        step.x,
        step.activations,
    )


def _bias_of_pairs(table: Any, window_size: int) -> Any:
    """(heads, tokens, tokens): the table's entry of each pair."""
    rows, columns = np.divmod(np.arange(window_size * window_size), window_size)
    down = rows[:, None] - rows + window_size - 1
    across = columns[:, None] - columns + window_size - 1
    pairs = table[down * (2 * window_size - 1) + across]
    return np.ascontiguousarray(pairs.transpose(2, 0, 1))


def _gate(step: GateStep) -> Any:
    return _C.GateStep(
        _quantizer(step.quantizer), step.x, step.gate, step.residual, step.activations
    )


def _element(step: ElementStep) -> Any:
    quantizer = None if step.quantizer is None else _quantizer(step.quantizer)
    return _C.ElementStep(step.element, quantizer, step.x, step.y, step.values, step.activations)


_PACKED: dict[type[Any], Any] = {
    AttentionStep: _attention,
    ElementStep: _element,
    GateStep: _gate,
    LayersStep: _layers,
    NormStep: _norm,
    QuantizeStep: _quantize,
    SubpixelStep: _subpixel,
}
