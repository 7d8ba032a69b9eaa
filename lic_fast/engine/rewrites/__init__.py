"""Rewrites: graphs of fewer nodes that compute the same, up to rounding."""

from __future__ import annotations

from collections.abc import Callable

from lic_fast.engine.rewrites import activations, norms, pixels, sums
from lic_fast.engine.unsupported import Unsupported
from lic_fast.runtime.graph import Graph

__all__ = ["rewritten"]

Rewrite = Callable[[Graph], Graph | None]
"""Gives the graph with one match replaced, None if there is no match."""

# Each to the end before the next: what is matched later may be made of what was matched before.
_REWRITES: tuple[Rewrite, ...] = (
    pixels.shuffled,
    pixels.pointwise,
    norms.gdn,
    sums.gate,
    sums.twice,
    sums.residual,
    activations.activated,
    norms.normed_linear,
    norms.feed_forward,
    norms.root,
)


def rewritten(graph: Graph) -> Graph:
    """The graph after all rewrites.

    Raises:
        Unsupported: A node is left that only rewrites know.
    """
    graph = _needed(graph)
    for rewrite in _REWRITES:
        while (found := rewrite(graph)) is not None:
            graph = found
    for node in graph.nodes:
        if node.kind == "pixel_shuffle":
            raise Unsupported("pixels are shuffled that no convolution or linear map gives")
        if node.kind == "unary" and node["function"] == "rsqrt":
            raise Unsupported("an inverse square root that is no factor")
    return graph


def _needed(graph: Graph) -> Graph:
    """Without nodes whose results nothing reads."""
    needed = set(graph.outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            nodes.append(node)
    return Graph(tuple(reversed(nodes)), graph.inputs, graph.channels, graph.outputs)
