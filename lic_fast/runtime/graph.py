"""Graphs: what a network in floating point computes, as nodes on numbered maps.

:mod:`lic_fast.engine` captures them and rewrites them into others that compute the same; a portable
model's file holds them. :mod:`lic_fast.runtime.program` and :mod:`lic_fast.engine.by_operators` run
them. Weights are tensors in :mod:`lic_fast.engine`, arrays in :mod:`lic_fast.runtime`.

Maps are (B, H, W, C) or (B, C, H, W) alike: a node works on the channels of pixels, whichever way a
network's tensors have them. The kinds of nodes, with x, y, ... for their inputs:

====================  ==============================================================================
conv2d                x [+ residual]: ``weight`` (M, N, k, k), ``bias``; ``stride``, ``padding``,
                      ``activation``; with ``shuffle`` r > 1 the weight is (r * r * M, N, k, k) in
                      the order of :func:`lic_fast.ops.subpixel.pixels_first`, and the result has
                      r x r pixels for each. activation(conv + bias + residual).
conv_transpose2d      x [+ residual]: ``weight`` (N, M, k, k), ``bias``; ``stride``, ``padding``,
                      ``activation``; `stride` outputs for each input along a side.
linear                x [+ residual]: ``weight`` (M, N), ``bias``, ``activation``; and, of the norm
                      of x that is multiplied, ``norm_weight``, ``norm_bias``, ``eps``.
feed_forward          x [+ residual]: ``weight1``, ``bias1``, ``activation``, ``weight2``,
                      ``bias2``, and the norm as for linear.
gdn                   x: ``gamma`` (C, C), ``beta`` (C,), ``inverse``.
layer_norm            x: ``weight``, ``bias``, ``eps``.
window_attention      qkv: ``table`` ((2w-1)^2, heads), ``pad_value`` (3 * C,) or None; ``window``,
                      ``shift``, ``scale``, ``mask_value``.
unary                 x: ``function`` and ``number``, see :data:`UNARY`.
binary                x, y: ``function`` and ``number``, see :data:`BINARY`.
gate                  values, logits, skip: values * sigmoid(logits) + skip.
space_to_depth        x: ``factor`` r, and ``order``: "rows_first", that of blocks of channels
                      (0, 0), (0, 1), (1, 0), (1, 1), or "columns_first", Swin's.
depth_to_space        x: ``factor`` r; channels in the order of ``pixels_first``.
pixel_shuffle         x: ``factor`` r; channels in PyTorch's order. No program has it: rewrites put
                      it into the weights of what comes before.
split                 x: ``first`` of ``channels`` channels.
concat                x, y, ...: channels one after the other.
====================  ==============================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BINARY", "UNARY", "Graph", "Node"]

UNARY = (
    "relu",
    "leaky_relu",  # slope: number
    "gelu",
    "sigmoid",
    "tanh",
    "exp",
    "square",
    "sqrt",
    "rsqrt",  # as a factor only
    "abs",
    "negate",
    "scale",  # times number
    "shift",  # plus number
)
BINARY = (
    "add",  # x + number * y
    "multiply",
    "divide",
    "subtract",
    "maximum",
    "minimum",
)


@dataclass(frozen=True, eq=False)
class Node:
    """An operator of a graph.

    Attributes:
        kind: See :mod:`lic_fast.runtime.graph`.
        inputs: Numbers of the maps that it reads.
        output: Number of the map that it makes.
        channels: Of the output.
        attributes: Numbers and names, by the names of the table.
        weights: Tensors or arrays, by the names of the table; None for a bias that is not there.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    channels: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """An attribute or a weight; None if there is none of this name."""
        return self.attributes[name] if name in self.attributes else self.weights.get(name)

    def changed(
        self,
        *,
        kind: str | None = None,
        inputs: Sequence[int] | None = None,
        output: int | None = None,
        channels: int | None = None,
        weights: Mapping[str, Any] | None = None,
        **attributes: Any,
    ) -> Node:
        """The same with other parts; attributes and weights are added to those that there are."""
        return Node(
            self.kind if kind is None else kind,
            self.inputs if inputs is None else tuple(inputs),
            self.output if output is None else output,
            self.channels if channels is None else channels,
            {**self.attributes, **attributes},
            {**self.weights, **(weights or {})},
        )


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which each follows what it reads.

    Attributes:
        nodes: The operators.
        inputs: Numbers of the maps that are given.
        channels: Of each input.
        outputs: Numbers of the maps that are the results.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    channels: tuple[int, ...]
    outputs: tuple[int, ...]

    def uses(self) -> Counter[int]:
        """How often each map is read; a result once more."""
        counts = Counter(number for node in self.nodes for number in node.inputs)
        counts.update(self.outputs)
        return counts

    def makers(self) -> dict[int, Node]:
        """The node that makes each map; none makes an input."""
        return {node.output: node for node in self.nodes}

    def replaced(self, old: Sequence[Node], new: Node) -> Graph:
        """With one node in the place of the last of some."""
        gone = {id(node) for node in old[:-1]}
        nodes = [new if node is old[-1] else node for node in self.nodes if id(node) not in gone]
        return Graph(tuple(nodes), self.inputs, self.channels, self.outputs)

    def without(self, node: Node, instead: int) -> Graph:
        """Without a node; another map takes the place of what it made."""

        def number(old: int) -> int:
            return instead if old == node.output else old

        nodes = tuple(
            other.changed(inputs=tuple(map(number, other.inputs)))
            for other in self.nodes
            if other is not node
        )
        return Graph(nodes, self.inputs, self.channels, tuple(map(number, self.outputs)))

    def with_weights(self, function: Callable[[Any], Any]) -> Graph:
        """With `function` of each weight in its place."""
        nodes = []
        for node in self.nodes:
            weights = {
                name: None if weight is None else function(weight)
                for name, weight in node.weights.items()
            }
            nodes.append(node.changed(weights=weights))
        return Graph(tuple(nodes), self.inputs, self.channels, self.outputs)

    def __str__(self) -> str:
        given = zip(self.inputs, self.channels, strict=True)
        lines = [f"%{number}: {channels} channels" for number, channels in given]
        for node in self.nodes:
            inputs = ", ".join(f"%{number}" for number in node.inputs)
            shown = [f"{name}={value}" for name, value in node.attributes.items()]
            shown += [
                f"{name}{list(weight.shape)}"
                for name, weight in node.weights.items()
                if weight is not None
            ]
            lines.append(f"%{node.output} = {node.kind}({inputs}) {' '.join(shown)}".rstrip())
        results = ", ".join(f"%{number}" for number in self.outputs)
        return "\n".join([*lines, f"return {results}"])
