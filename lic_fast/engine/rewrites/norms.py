"""Normalisations as part of what reads them, and CompressAI's GDN of its functions."""

from __future__ import annotations

from lic_fast.runtime.graph import Graph, Node

__all__ = ["feed_forward", "gdn", "normed_linear", "root"]


def gdn(graph: Graph) -> Graph | None:
    """X times the root, or its inverse, of a linear map of the squares of x."""
    uses, makers = graph.uses(), graph.makers()
    for node in graph.nodes:
        if node.kind != "binary" or node["function"] != "multiply":
            continue
        for x, factor in (node.inputs, node.inputs[::-1]):
            chain: list[Node] = []
            at = factor
            for kind in ("unary", "linear", "unary"):
                maker = makers.get(at)
                if maker is None or maker.kind != kind or uses[at] != 1:
                    break
                if len(maker.inputs) > 1:
                    break
                chain.insert(0, maker)
                at = maker.inputs[0]
            if len(chain) < 3 or at != x:
                continue
            squares, mix, end = chain
            roots = ("sqrt", "rsqrt")
            if squares["function"] != "square" or end["function"] not in roots:
                continue
            if mix["bias"] is None or mix["activation"] != "none" or mix.channels != node.channels:
                continue
            weights = {"gamma": mix["weight"], "beta": mix["bias"]}
            inverse = {"inverse": end["function"] == "sqrt"}
            new = Node("gdn", (x,), node.output, node.channels, inverse, weights)
            return graph.replaced([*chain, node], new)
    return None


def normed_linear(graph: Graph) -> Graph | None:
    """A linear map of the norm of channels."""
    uses, makers = graph.uses(), graph.makers()
    for node in graph.nodes:
        if node.kind != "linear":
            continue
        norm = makers.get(node.inputs[0])
        if norm is None or norm.kind != "layer_norm" or uses[norm.output] != 1:
            continue
        new = node.changed(
            inputs=(*norm.inputs, *node.inputs[1:]),
            weights={"norm_weight": norm["weight"], "norm_bias": norm["bias"]},
            eps=norm["eps"],
        )
        return graph.replaced([norm, node], new)
    return None


def feed_forward(graph: Graph) -> Graph | None:
    """A linear map of the activation of a linear map of the norm of channels."""
    uses, makers = graph.uses(), graph.makers()
    for node in graph.nodes:
        if node.kind != "linear" or node["eps"] is not None or node["activation"] != "none":
            continue
        first = makers.get(node.inputs[0])
        if first is None or first.kind != "linear" or uses[first.output] != 1:
            continue
        if first["eps"] is None or len(first.inputs) > 1 or first["activation"] == "none":
            continue
        weights = {
            "norm_weight": first["norm_weight"],
            "norm_bias": first["norm_bias"],
            "weight1": first["weight"],
            "bias1": first["bias"],
            "weight2": node["weight"],
            "bias2": node["bias"],
        }
        new = Node(
            "feed_forward",
            (*first.inputs, *node.inputs[1:]),
            node.output,
            node.channels,
            {"activation": first["activation"], "eps": first["eps"]},
            weights,
        )
        return graph.replaced([first, node], new)
    return None


def root(graph: Graph) -> Graph | None:
    """A product with an inverse square root, which is a quotient."""
    uses, makers = graph.uses(), graph.makers()
    for node in graph.nodes:
        if node.kind != "binary" or node["function"] != "multiply":
            continue
        for x, factor in (node.inputs, node.inputs[::-1]):
            inverse = makers.get(factor)
            if inverse is None or inverse.kind != "unary" or uses[factor] != 1:
                continue
            if inverse["function"] == "rsqrt":
                square_root = inverse.changed(function="sqrt")
                quotient = node.changed(inputs=(x, factor), function="divide")
                found = graph.replaced([inverse], square_root)
                return found.replaced([node], quotient)
    return None
