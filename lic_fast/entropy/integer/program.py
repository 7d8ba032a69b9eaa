"""From a network that was recorded to the program that computes it in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast, get_args

import torch
from torch import Tensor

from lic_fast.entropy.integer.chain import layer_of
from lic_fast.entropy.integer.recorded import Node, Recorded, UnrecordableError
from lic_fast.runtime.entropy_path import Network
from lic_fast.runtime.integer import (
    AttentionStep,
    Element,
    ElementStep,
    GateStep,
    LayersStep,
    Map,
    NormStep,
    Program,
    Quantizer,
    QuantizeStep,
    Step,
    SubpixelStep,
)

__all__ = ["Output", "program_of"]

Output = tuple[Recorded, Quantizer | None]
"""A map, as activations if there is a quantizer."""


def program_of(given: Recorded, outputs: Sequence[Output]) -> Network:
    """The program, of tensors, that makes the outputs of the activations of what is given.

    Raises:
        UnrecordableError: A map is used in a way that programs have no step for.
    """
    return _Lowering(given.node, outputs).result()


class _Lowering:
    """Nodes to steps.

    Finds which maps are needed as floats and which as activations, and which are only what one
    layer gives the next, so that both are one network.
    """

    def __init__(self, given: Node, outputs: Sequence[Output]) -> None:
        self._given = given
        self._outputs = [(recorded.node, quantizer) for recorded, quantizer in outputs]
        self._nodes = _ordered([node for node, _ in self._outputs])
        self._wanted: dict[Node, list[Quantizer]] = {node: [] for node in self._nodes}
        self._floats: set[Node] = set()
        self._readers: dict[Node, list[Node]] = {node: [] for node in self._nodes}
        for node in self._nodes:
            self._note_reads(node)
        for node, quantizer in self._outputs:
            if quantizer is None:
                self._floats.add(node)
            else:
                self._want(node, quantizer)
        self._maps: list[Map] = []
        self._steps: list[Step] = []
        self._values: dict[Node, int] = {}
        self._activations: dict[Node, list[tuple[Quantizer, int]]] = {n: [] for n in self._nodes}
        self._parts: dict[Node, list[tuple[Quantizer, int]]] = {n: [] for n in self._nodes}
        for node in reversed(self._nodes):
            if node.kind == "concat":
                self._place_parts(node)

    def _note_reads(self, node: Node) -> None:
        for operand in node.operands:
            self._readers[operand].append(node)
            if node.kind == "layer":
                self._want(operand, node.module.quantizer)
            elif node.kind != "concat":
                self._floats.add(operand)
        if node.residual is not None:
            self._readers[node.residual].append(node)
            self._floats.add(node.residual)

    def _want(self, node: Node, quantizer: Quantizer) -> None:
        if not any(_same(quantizer, other) for other in self._wanted[node]):
            self._wanted[node].append(quantizer)

    def _place_parts(self, node: Node) -> None:
        """Has the parts of a map side by side be written where it is."""
        if node in self._floats:
            raise UnrecordableError("maps side by side are not only read as activations")
        for quantizer in self._wanted[node]:
            halves = quantizer.bits // 7
            base = self._new(Map(node.channels, halves, node.scale))
            self._activations[node].append((quantizer, base))
            first = 0
            for part in node.operands:
                end = first + part.channels
                own = Quantizer(
                    quantizer.inverse_step[first:end], quantizer.zero[first:end], quantizer.bits
                )
                if part.kind == "concat" or any(_same(own, q) for q, _ in self._parts[part]):
                    raise UnrecordableError("a map is part of two others")
                place = self._new(Map(part.channels, halves, node.scale, base, first))
                self._parts[part].append((own, place))
                self._want(part, own)
                first = end

    def result(self) -> Network:
        wanted = self._wanted.get(self._given, [])
        if len(wanted) != 1 or self._given in self._floats:
            raise UnrecordableError("what is given must be read as activations, always the same")
        self._new_activations(self._given, wanted[0])
        for node in self._nodes:
            if node.kind == "layer":
                if not self._hidden(node):
                    self._add_layers(node)
            elif node.kind in get_args(Element):
                self._add_element(node)
            elif node.kind == "split":
                self._add_split(node)
            elif node is not self._given and node.kind != "concat":
                self._add_other(node)
        outputs = [
            self._values[node] if quantizer is None else self._read(node, quantizer)
            for node, quantizer in self._outputs
        ]
        inputs = [self._read(self._given, wanted[0])]
        return Network(Program(self._maps, self._steps, inputs, outputs), wanted[0])

    def _hidden(self, node: Node) -> bool:
        """Whether the map behind a layer is only the next layer's input."""
        readers = self._readers[node]
        return (
            len(readers) == 1
            and readers[0].kind == "layer"
            and node.up == readers[0].up == 1
            and node.residual is None
            and node not in self._floats
            and all(node is not other for other, _ in self._outputs)
        )

    def _add_layers(self, last: Node) -> None:
        nodes = [last]
        while nodes[0].operands[0].kind == "layer" and self._hidden(nodes[0].operands[0]):
            nodes.insert(0, nodes[0].operands[0])
        following = [node.module.quantizer for node in nodes[1:]]
        output, values, activations = self._results(last)
        residual = None if last.residual is None else self._values[last.residual]
        source = self._read(nodes[0].operands[0], nodes[0].module.quantizer)
        if last.up > 1:
            layer = layer_of(last.module, last.activation, output)
            self._steps.append(SubpixelStep(layer, last.up, source, values, activations))
        else:
            layers = [
                layer_of(node.module, node.activation, quantizer)
                for node, quantizer in zip(nodes, [*following, output], strict=True)
            ]
            self._steps.append(LayersStep(layers, source, residual, values, activations))
        self._quantize_for_others(last)

    def _results(self, node: Node) -> tuple[Quantizer | None, int | None, int | None]:
        """The quantizer of what a step writes, its map of values, that of its activations."""
        wanted = self._wanted[node]
        values = activations = None
        if node in self._floats or len(wanted) > 1:
            values = self._values[node] = self._new(Map(node.channels, 0, node.scale))
        if wanted:
            activations = self._new_activations(node, wanted[0])
        return (wanted[0] if wanted else None), values, activations

    def _quantize_for_others(self, node: Node) -> None:
        """Steps for all quantizers but that of the step itself."""
        for other in self._wanted[node][1:]:
            to = self._new_activations(node, other)
            self._steps.append(QuantizeStep(other, self._values[node], to))

    def _add_element(self, node: Node) -> None:
        x, *others = [self._values[operand] for operand in node.operands]
        y = others[0] if others else None
        quantizer, values, activations = self._results(node)
        kind = cast(Element, node.kind)
        self._steps.append(ElementStep(kind, quantizer, x, y, values, activations))
        self._quantize_for_others(node)

    def _add_split(self, node: Node) -> None:
        whole = self._values[node.operands[0]]
        base, first = self._maps[whole].base, self._maps[whole].first + node.first
        base = whole if base is None else base
        self._values[node] = self._new(Map(node.channels, 0, node.scale, base, first))
        for quantizer in self._wanted[node]:
            to = self._new_activations(node, quantizer)
            self._steps.append(QuantizeStep(quantizer, self._values[node], to))

    def _add_other(self, node: Node) -> None:
        # A sigmoid or a product is part of a gate, which reads what they read.
        if node.kind not in ("norm", "attention", "gate"):
            raise UnrecordableError(f"no step for a {node.kind}")
        wanted = self._wanted[node]
        if len(wanted) != 1 or node in self._floats:
            raise UnrecordableError(f"a {node.kind} is not only read as activations")
        x, *others = [self._values[operand] for operand in node.operands]
        to = self._new_activations(node, wanted[0])
        module = node.module
        step: Step
        if node.kind == "norm":
            numbers = (module.weight, module.bias, module.inverse_step, module.epsilon)
            step = NormStep(*numbers, wanted[0], x, to)
        elif node.kind == "attention":
            numbers = (module.inverse_step, module.scale, module.table, module.value_step)
            step = AttentionStep(*numbers, module.window_size, module.shift, wanted[0], x, to)
        else:
            gate, residual = others
            step = GateStep(wanted[0], x, gate, residual, to)
        self._steps.append(step)

    def _new(self, new: Map) -> int:
        self._maps.append(new)
        return len(self._maps) - 1

    def _new_activations(self, node: Node, quantizer: Quantizer) -> int:
        places = (place for known, place in self._parts[node] if _same(known, quantizer))
        made = next(places, None)
        if made is None:
            made = self._new(Map(node.channels, quantizer.bits // 7, node.scale))
        self._activations[node].append((quantizer, made))
        return made

    def _read(self, node: Node, quantizer: Quantizer) -> int:
        return next(made for known, made in self._activations[node] if _same(known, quantizer))


def _ordered(last: Iterable[Node]) -> list[Node]:
    """All nodes, each behind those that it reads."""
    done: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node not in done:
            for operand in (*node.operands, *([] if node.residual is None else [node.residual])):
                visit(operand)
            done[node] = None

    for node in last:
        visit(node)
    return list(done)


def _same(one: Quantizer, other: Quantizer) -> bool:
    def equal(a: Tensor, b: Tensor) -> bool:
        return a is b or torch.equal(a, b)

    return (
        one.bits == other.bits
        and equal(one.inverse_step, other.inverse_step)
        and equal(one.zero, other.zero)
    )
