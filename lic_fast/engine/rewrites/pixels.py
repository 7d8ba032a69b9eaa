"""Shuffled pixels in the order of weights, and convolutions of single pixels as linear maps."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from lic_fast.ops.subpixel import pixels_first
from lic_fast.runtime.graph import Graph, Node

__all__ = ["pointwise", "shuffled"]


def shuffled(graph: Graph) -> Graph | None:
    """A pixel shuffle of a convolution, or of a linear map, perhaps with an activation between."""
    uses, makers = graph.uses(), graph.makers()
    for shuffle in graph.nodes:
        if shuffle.kind != "pixel_shuffle":
            continue
        between: list[Node] = []
        maker = makers.get(shuffle.inputs[0])
        while maker is not None and maker.kind == "unary" and uses[maker.output] == 1:
            between.insert(0, maker)
            maker = makers.get(maker.inputs[0])
        if maker is None or uses[maker.output] != 1 or len(maker.inputs) > 1:
            continue
        r = shuffle["factor"]
        ordered = {
            name: None if weight is None else pixels_first(weight, r)
            for name, weight in maker.weights.items()
            if name in ("weight", "bias")
        }
        if maker.kind == "linear":
            linear = maker.changed(weights=ordered)
            moved = shuffle.changed(kind="depth_to_space")
            return _exchanged(graph, {id(maker): linear, id(shuffle): moved})
        if maker.kind == "conv2d" and maker["shuffle"] == 1 and maker["stride"] == 1:
            small = shuffle.channels
            exchanged = {id(node): node.changed(channels=small) for node in between}
            exchanged[id(maker)] = maker.changed(channels=small, weights=ordered, shuffle=r)
            return _exchanged(graph, exchanged).without(shuffle, shuffle.inputs[0])
    return None


def _exchanged(graph: Graph, nodes: dict[int, Node]) -> Graph:
    return replace(graph, nodes=tuple(nodes.get(id(node), node) for node in graph.nodes))


def pointwise(graph: Graph) -> Graph | None:
    """A convolution of single pixels."""
    for node in graph.nodes:
        forms = (node["kernel"], node["stride"], node["padding"], node["shuffle"])
        if node.kind == "conv2d" and forms == (1, 1, 0, 1):
            weight = node["weight"]
            assert isinstance(weight, Tensor)
            linear = Node(
                "linear",
                node.inputs,
                node.output,
                node.channels,
                {"activation": node["activation"]},
                {"weight": weight.flatten(1), "bias": node["bias"]},
            )
            return graph.replaced([node], linear)
    return None
