"""Maps that stand for tensors while modules tell what they would compute.

The modules of an integer entropy path, given a :class:`Recorded` map instead of a tensor, compute
nothing but note themselves; so running a network's own ``forward`` on one gives the steps of a
program (:mod:`lic_fast.entropy.integer.program`), and a network is written down once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from lic_fast.ops.integer_layer import Activation

__all__ = ["Kind", "Node", "Recorded", "UnrecordableError"]

Kind = Literal[
    "input",
    "layer",
    "norm",
    "attention",
    "sigmoid",
    "product",
    "gate",
    "add",
    "square",
    "times_root",
    "over_root",
    "split",
    "concat",
]

_CHANNELS_LAST = (0, 2, 3, 1)
_CHANNELS_FIRST = (0, 3, 1, 2)


class UnrecordableError(Exception):
    """A network does something that programs have no step for."""


@dataclass(eq=False)
class Node:
    """What computes a map.

    Attributes:
        kind: What it is. Sigmoids and products are only parts of gates.
        channels: Of the map.
        operands: What it reads.
        module: Whose numbers it has, or None.
        activation: Behind a layer.
        residual: What a layer adds before that, or None.
        up: By how much a layer's output is shuffled up; 1 for not.
        first: Of a split, the first of the operand's channels that it has.
    """

    kind: Kind
    channels: int
    operands: Sequence[Node] = ()
    module: Any = None
    activation: Activation = "none"
    residual: Node | None = field(default=None)
    up: int = 1
    first: int = 0

    @property
    def scale(self) -> int:
        """Of the map's sides to those of the input."""
        return self.up * (self.operands[0].scale if self.operands else 1)


class Recorded:
    """A map (B, C, H, W) or (B, H, W, C), which is the same here.

    Args:
        node: What computes it.
    """

    def __init__(self, node: Node) -> None:
        self.node = node

    @classmethod
    def input(cls, channels: int) -> Recorded:
        """A map that is given."""
        return cls(Node("input", channels))

    def layer(self, module: Any, activation: Activation, residual: Any) -> Recorded:
        """Behind an :class:`~lic_fast.entropy.integer.conv.IntegerConv2d`."""
        skip = None if residual is None else _node(residual)
        channels = len(module.bias)
        return Recorded(Node("layer", channels, [self.node], module, activation, skip))

    def norm(self, module: Any) -> Recorded:
        """Behind an :class:`~lic_fast.entropy.integer.norm.ExactLayerNorm`."""
        return Recorded(Node("norm", self.node.channels, [self.node], module))

    def attention(self, module: Any) -> Recorded:
        """Behind an :class:`~lic_fast.entropy.integer.attention.IntegerWindowAttention`."""
        return Recorded(Node("attention", len(module.value_step), [self.node], module))

    def gdn(self, module: Any) -> Recorded:
        """Behind an :class:`~lic_fast.entropy.integer.norm.ExactGDN`."""
        channels = self.node.channels
        norm = Node("layer", channels, [Node("square", channels, [self.node])], module.mix)
        kind: Kind = "times_root" if module.inverse else "over_root"
        return Recorded(Node(kind, channels, [self.node, norm]))

    def chunk(self, chunks: int, dim: int) -> tuple[Recorded, ...]:
        """Equal parts of the channels; anything else is refused."""
        channels = self.node.channels
        if dim != 1 or channels % chunks:
            raise UnrecordableError(f"no step makes {chunks} of {channels} in dimension {dim}")
        count = channels // chunks
        parts = range(0, channels, count)
        return tuple(Recorded(Node("split", count, [self.node], first=first)) for first in parts)

    def sigmoid(self) -> Recorded:
        """The logistic function."""
        return Recorded(Node("sigmoid", self.node.channels, [self.node]))

    def permute(self, *order: int) -> Recorded:
        """Channels last or first; anything else is refused."""
        if order not in (_CHANNELS_LAST, _CHANNELS_FIRST):
            raise UnrecordableError(f"no step permutes to {order}")
        return self

    def __mul__(self, other: Any) -> Recorded:
        """A map times a sigmoid."""
        gate = _node(other)
        if gate.kind != "sigmoid":
            raise UnrecordableError("no step multiplies but with a sigmoid")
        return Recorded(Node("product", self.node.channels, [self.node, gate.operands[0]]))

    def __add__(self, other: Any) -> Recorded:
        """The sum of two maps; of such a product and a map it is a gate."""
        added = _node(other)
        if self.node.channels != added.channels:
            raise UnrecordableError("no step adds maps of other channels")
        if self.node.kind != "product":
            return Recorded(Node("add", self.node.channels, [self.node, added]))
        return Recorded(Node("gate", self.node.channels, [*self.node.operands, added]))

    add_ = __add__

    def shuffled(self, factor: int) -> Recorded:
        """Behind a pixel shuffle, of a layer alone."""
        node, pixels = self.node, factor * factor
        if node.kind != "layer" or node.residual is not None or node.up > 1:
            raise UnrecordableError("no step shuffles but behind a layer")
        if node.channels % pixels:
            raise UnrecordableError("a shuffle does not divide the channels")
        return Recorded(replace(node, channels=node.channels // pixels, up=factor))

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Refuses the functions of PyTorch, which look for this, but for those that steps do."""
        if function is nn.functional.pixel_shuffle and not kwargs and len(args) == 2:
            return args[0].shuffled(args[1])
        if function is torch.cat and not kwargs and len(args) == 2 and args[1] == 1:
            parts = [_node(part) for part in args[0]]
            return cls(Node("concat", sum(part.channels for part in parts), parts))
        raise UnrecordableError(f"no step for {function}")

    def __getattr__(self, name: str) -> Any:
        raise UnrecordableError(f"a recorded map has no {name}")


def _node(x: Any) -> Node:
    if not isinstance(x, Recorded):
        raise UnrecordableError(f"{type(x).__name__} is no recorded map")
    return x.node
