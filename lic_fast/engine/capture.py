"""Capture: the graph of what a network computes, by calling it with a value.

The network's modules are not touched: what is called is a tree of copies that share the tensors.
A copy of a module of a class with a rule calls the rule, one of a module that may not be followed
raises :class:`~lic_fast.engine.unsupported.Unsupported`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from lic_fast.engine import lowering  # noqa: F401
from lic_fast.engine.registry import module_rule
from lic_fast.engine.rewrites import rewritten
from lic_fast.engine.unsupported import Unsupported
from lic_fast.engine.values import Recorder, Value
from lic_fast.engine.watch import refusal
from lic_fast.runtime.graph import Graph

__all__ = ["Capture", "Function", "capture", "capture_function", "register_models"]

Layout = str
"""Of a tensor: "BCHW" or "BHWC"."""

Function = Callable[..., tuple[Any, ...]]
"""(networks, x, ...) to tensors: what is computed by more than one network, or of more than one
tensor. It is called with tensors, or with values."""


@dataclass(frozen=True)
class Capture:
    """What networks compute.

    Attributes:
        graph: The nodes.
        layout: Of the results.
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
    if method == "forward":
        return capture_function(_call, [network], [channels], layout)
    used: list[_Used] = []

    def asked(networks: Sequence[nn.Module], x: Value) -> tuple[Any]:
        (root,) = networks
        used.append(_Used(root._modules))
        root.__dict__["_modules"] = used[0]
        return (getattr(root, method)(x),)

    found = capture_function(asked, [network], [channels], layout, called=False)
    return found if used[0].all else replace(found, children=frozenset(used[0].names))


def _call(networks: Sequence[nn.Module], x: Any) -> tuple[Any]:
    return (networks[0](x),)


def capture_function(
    function: Function,
    networks: Sequence[nn.Module],
    channels: Sequence[int],
    layout: Layout = "BCHW",
    called: bool = True,
) -> Capture:
    """The graph of what a function of networks computes.

    Args:
        function: Called with copies of the networks and values.
        networks: Not in training.
        channels: Of each tensor that it is called with.
        layout: Of them all.
        called: Whether it calls the networks, so that their hooks matter.

    Raises:
        Unsupported: As for :func:`capture`.
    """
    register_models()
    recorder = Recorder()
    last = layout == "BHWC"
    values = [Value(recorder, recorder.new_map(), count, last, shared=True) for count in channels]
    given = tuple(x.number for x in values)
    refused: list[str] = []
    copies: dict[int, nn.Module] = {}
    roots = [_copy(network, "", copies, refused, called) for network in networks]
    try:
        with torch.no_grad():
            results = function(roots, *values)
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
    for out in results:
        if not isinstance(out, Value):
            raise Unsupported(f"its result is a {type(out).__name__}")
    if len({out.last for out in results}) != 1:
        raise Unsupported("its results are (B, C, H, W) and (B, H, W, C)")
    outputs = tuple(out.number for out in results)
    graph = Graph(tuple(recorder.nodes), given, tuple(channels), outputs)
    return Capture(rewritten(graph), "BHWC" if results[0].last else "BCHW", None)


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
        from lic_fast.engine.lowering import models  # noqa: F401

        _registered = True
