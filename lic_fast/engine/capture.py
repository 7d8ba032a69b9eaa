"""Capture: the graph of what a network computes, by calling it with a value.

The network's modules are not touched: what is called is a tree of copies that share the tensors.
A copy of a module of a class with a rule calls the rule, one of a module that may not be followed
raises :class:`~lic_fast.engine.graph.Unsupported`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from lic_fast.engine import lowering  # noqa: F401
from lic_fast.engine.graph import Graph, Unsupported
from lic_fast.engine.registry import module_rule
from lic_fast.engine.rewrites import rewritten
from lic_fast.engine.values import Recorder, Value
from lic_fast.engine.watch import refusal

__all__ = ["Capture", "capture", "register_models"]

Layout = str
"""Of a tensor: "BCHW" or "BHWC"."""


@dataclass(frozen=True)
class Capture:
    """What a network computes.

    Attributes:
        graph: Its nodes.
        layout: Of its result.
        children: Names of the network's children that take part; None for all.
    """

    graph: Graph
    layout: Layout
    children: frozenset[str] | None


def capture(network: nn.Module, method: str, channels: int, layout: Layout = "BCHW") -> Capture:
    """The graph of ``getattr(network, method)``.

    Args:
        network: Not in training.
        method: "forward", or another method of one tensor.
        channels: Of its input.
        layout: Of its input.

    Raises:
        Unsupported: It computes what has no node, or something in it may not be followed.
    """
    register_models()
    recorder = Recorder()
    x = Value(recorder, recorder.new_map(), channels, layout == "BHWC", shared=True)
    given = x.number
    refused: list[str] = []
    whole = method == "forward"
    copies: dict[int, nn.Module] = {}
    root = _copy(network, "", copies, refused, called=whole)
    used = _Used(root._modules) if not whole else None
    if used is not None:
        root.__dict__["_modules"] = used
    try:
        with torch.no_grad():
            out = root(x) if whole else getattr(root, method)(x)
    except Unsupported as reason:
        raise Unsupported(str(reason)) from None
    except Exception as error:
        if refused:
            raise Unsupported(refused[0]) from None
        kind = type(error).__name__
        raise Unsupported(f"it cannot be followed: {kind}: {error}") from None
    finally:
        for copy in copies.values():
            copy.__dict__.clear()  # they hold themselves, and tensors
    if not isinstance(out, Value):
        raise Unsupported(f"its result is a {type(out).__name__}")
    graph = Graph(tuple(recorder.nodes), given, channels, out.number)
    children = None if used is None or used.all else frozenset(used.names)
    return Capture(rewritten(graph), "BHWC" if out.last else "BCHW", children)


class _Used(dict[str, Any]):
    """Children of a module, with the names of those that were asked for."""

    def __init__(self, children: dict[str, Any]) -> None:
        super().__init__(children)
        self.names: set[str] = set()
        self.all = False

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def __iter__(self) -> Any:
        self.all = True
        return super().__iter__()

    def values(self) -> Any:
        self.all = True
        return super().values()

    def items(self) -> Any:
        self.all = True
        return super().items()


class _Refused(nn.Module):
    """Stands for a module that may not be followed."""

    def __init__(self, reason: str, refused: list[str]) -> None:
        super().__init__()
        self.reason = reason
        self.refused = refused

    def forward(self, *_: Any, **__: Any) -> None:
        raise Unsupported(self.reason)

    def __getattr__(self, name: str) -> Any:
        self.refused.append(self.reason)
        raise Unsupported(self.reason)


def _copy(
    module: nn.Module,
    name: str,
    known: dict[int, nn.Module],
    refused: list[str],
    called: bool = True,
) -> nn.Module:
    """A copy for capture, without copies of tensors."""
    found = known.get(id(module))
    if found is not None:
        return found
    reason = refusal(module, called, is_root=not name)
    if reason is not None:
        if not name:
            raise Unsupported(reason)
        return known.setdefault(id(module), _Refused(f"{name}: {reason}", refused))
    kind = type(module)
    copy: nn.Module = object.__new__(kind)
    known[id(module)] = copy
    copy.__dict__.update(module.__dict__)
    prefix = f"{name}." if name else ""
    copy.__dict__["_modules"] = {
        key: None if child is None else _copy(child, prefix + key, known, refused)
        for key, child in module._modules.items()
    }
    rule = module_rule(kind)
    if rule is not None:
        copy.__dict__["forward"] = partial(rule, copy)
    return copy


_registered = False


def register_models() -> None:
    """Registers the rules for the models' own modules, on first use: they import the models."""
    global _registered
    if not _registered:
        _registered = True
        from lic_fast.engine.lowering import models  # noqa: F401
