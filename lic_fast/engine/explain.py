"""How networks run: which are programs, by which kernels, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lic_fast.engine.cache import cached, entry_of
from lic_fast.engine.capture import Layout
from lic_fast.runtime.program import Description

__all__ = ["Explanation", "NetworkExplanation", "explain"]

# Pixels along the sides of the maps for which kernels are named.
_SIDE = 64


@dataclass(frozen=True)
class NetworkExplanation:
    """How one network runs.

    Attributes:
        name: Of the module, as in ``named_modules``, and of the method.
        is_program: Whether it runs as a program, while nothing of the call speaks against it.
        reason: Why it does not.
        nodes: Kind, kernel, and rows, columns and channels of the result, of each node; for maps
            of 64 x 64. Rows and columns are 0 where the network runs by operators.
    """

    name: str
    is_program: bool
    reason: str
    nodes: list[Description] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.is_program:
            return f"{self.name}: modules, because {self.reason}"
        lines = [f"{self.name}: a program of {len(self.nodes)} nodes"]
        for kind, kernel, (rows, columns, channels) in self.nodes:
            size = f"{channels} channels" + (f", {rows} x {columns}" if rows else "")
            lines.append(f"  {kind} by {kernel}, {size}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Explanation:
    """How the networks of a model run; its text is for people.

    Attributes:
        networks: One for each network.
    """

    networks: list[NetworkExplanation]

    def __str__(self) -> str:
        return "\n".join(map(str, self.networks))


def explain(model: nn.Module, *, precision: str = "float32") -> Explanation:
    """Which networks of a model run as programs, by which kernels, and why others do not.

    A model says which networks it has by a method ``networks()``, of name, module, method, channels
    and layout of the input. Of another module it is what has run of it by now, or else itself.

    Args:
        model: A model, or any module.
        precision: For which kernels are named.
    """
    return Explanation(
        [
            _explained(name, network, method, channels, layout, precision)
            for name, network, method, channels, layout in _networks(model)
        ]
    )


Networks = list[tuple[str, nn.Module, str, int, Layout]]


def _networks(model: nn.Module) -> Networks:
    listed: Any = getattr(model, "networks", None)
    if callable(listed):
        return list(listed())
    found = [
        (f"{name or type(model).__name__}.{key[0]}", module, *key)
        for name, module in model.named_modules()
        for key in cached(module)
    ]
    if found:
        return found
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            return [(type(model).__name__, model, "forward", module.in_channels, "BCHW")]
    return []


def _explained(
    name: str, network: nn.Module, method: str, channels: int, layout: Layout, precision: str
) -> NetworkExplanation:
    entry = entry_of(network, method, channels, layout)
    if entry.captured is None:
        return NetworkExplanation(name, False, entry.reason)
    graph = entry.captured.graph
    if any(device.type != "cpu" for device in entry.devices):
        nodes = [(node.kind, "operator", (0, 0, node.channels)) for node in graph.nodes]
    else:
        bfloat16 = precision == "bfloat16" or torch.bfloat16 in entry.types
        program = entry.program(bfloat16)
        try:
            nodes = program.describe(_SIDE, _SIDE)
        except ValueError:
            nodes = [(node.kind, "of other sizes", (0, 0, node.channels)) for node in graph.nodes]
    return NetworkExplanation(name, True, "", nodes)
