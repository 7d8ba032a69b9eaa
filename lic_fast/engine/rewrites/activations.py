"""Activations as part of what they follow."""

from __future__ import annotations

from lic_fast.runtime.graph import Graph, Node

__all__ = ["activated"]

_ACTIVATING = ("conv2d", "conv_transpose2d", "linear")


def activated(graph: Graph) -> Graph | None:
    """An activation of a convolution or of a linear map, with its residual."""
    uses, makers = graph.uses(), graph.makers()
    for node in graph.nodes:
        maker = makers.get(node.inputs[0])
        if maker is None or maker.kind not in _ACTIVATING or uses[maker.output] != 1:
            continue
        if maker["activation"] == "none" and (name := _name(node)) is not None:
            return graph.replaced([maker, node], maker.changed(output=node.output, activation=name))
    return None


def _name(node: Node) -> str | None:
    """Of the activation that kernels have in their end, None if the node is none of them."""
    if node.kind != "unary":
        return None
    function = node["function"]
    if function in ("relu", "gelu"):
        return function
    return function if function == "leaky_relu" and node["number"] == 0.01 else None
