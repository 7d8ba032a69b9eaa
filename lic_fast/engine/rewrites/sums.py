"""Sums as part of what gives one of their terms."""

from __future__ import annotations

from collections.abc import Iterator

from lic_fast.runtime.graph import Graph, Node

__all__ = ["gate", "residual", "twice"]

_SUMMING = ("conv2d", "conv_transpose2d", "linear")


def _sums(graph: Graph) -> Iterator[tuple[Node, int, int]]:
    """Plain sums, with either term first."""
    for node in graph.nodes:
        if node.kind == "binary" and node["function"] == "add" and node["number"] == 1:
            x, y = node.inputs
            yield node, x, y
            yield node, y, x


def gate(graph: Graph) -> Graph | None:
    """Values * sigmoid(logits) + skip."""
    uses, makers = graph.uses(), graph.makers()
    for node, product, skip in _sums(graph):
        times = makers.get(product)
        if times is None or times.kind != "binary" or times["function"] != "multiply":
            continue
        if uses[product] != 1:
            continue
        for values, factor in (times.inputs, times.inputs[::-1]):
            sigmoid = makers.get(factor)
            if sigmoid is None or sigmoid.kind != "unary" or uses[factor] != 1:
                continue
            if sigmoid["function"] == "sigmoid" and values != factor:
                inputs = (values, sigmoid.inputs[0], skip)
                new = Node("gate", inputs, node.output, node.channels)
                return graph.replaced([sigmoid, times, node], new)
    return None


def twice(graph: Graph) -> Graph | None:
    """(x + y) + y, as two skips around one another give it, with y twice in one step."""
    uses, makers = graph.uses(), graph.makers()
    for node, inner, skip in _sums(graph):
        first = makers.get(inner)
        if first is None or uses[inner] != 1 or first.kind != "binary":
            continue
        if first["function"] != "add" or first["number"] != 1 or skip not in first.inputs:
            continue
        other = first.inputs[1] if first.inputs[0] == skip else first.inputs[0]
        if other != skip:
            return graph.replaced([first, node], node.changed(inputs=(other, skip), number=2.0))
    return None


def residual(graph: Graph) -> Graph | None:
    """The sum of a convolution or a linear map and something else."""
    uses, makers = graph.uses(), graph.makers()
    position = {node.output: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.kind != "binary" or node["function"] != "add" or node["number"] != 1:
            continue
        # Into the later of two: the other one has to be there before.
        for term in sorted(set(node.inputs), key=lambda n: position.get(n, -1), reverse=True):
            maker = makers.get(term)
            if maker is None or maker.kind not in _SUMMING or uses[term] != 1:
                continue
            if maker["activation"] != "none" or len(maker.inputs) > 1:
                continue
            other = node.inputs[1] if node.inputs[0] == term else node.inputs[0]
            new = maker.changed(inputs=(*maker.inputs, other), output=node.output)
            return graph.replaced([maker, node], new)
    return None
