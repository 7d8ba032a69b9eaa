"""What was found out about networks: their graphs and programs, or why they have none.

An entry belongs to a network, or to several of which the first has it, and does not keep them
alive. It is used for as long as the :class:`~lic_fast.ops.state.State` of the networks' modules
holds, and the function lives, if it is of one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import RLock
from types import MethodType
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn

from lic_fast.engine import registry
from lic_fast.engine.capture import (
    Capture,
    Function,
    Layout,
    capture,
    capture_function,
    register_models,
)
from lic_fast.engine.program import Program
from lic_fast.engine.unsupported import Unsupported
from lic_fast.ops.state import State, modules_of

__all__ = ["Entry", "cached", "entry_of", "entry_of_function"]


class _Reference:
    """A function by its identity, a bound method by those of its object and function.

    It keeps nothing alive: a function may hold its network, and may be made anew at each call.
    """

    def __init__(self, function: Function) -> None:
        parts: list[object] = [function]
        if isinstance(function, MethodType):
            parts = [function.__self__, function.__func__]
        self._numbers = tuple(map(id, parts))
        self._parts = [ref(part) for part in parts]

    def lives(self) -> bool:
        return all(part() is not None for part in self._parts)

    def __hash__(self) -> int:
        return hash(self._numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Reference) or self._numbers != other._numbers:
            return False
        # No two objects that live have one number.
        return self.lives() and other.lives()


Key = tuple[str | _Reference, tuple[int, ...], Layout, tuple[int, ...]]
"""Method or function, channels and layout of the inputs, identities of the further networks."""


@dataclass
class Entry:
    """What is known of a network's method, or of a function of networks.

    Attributes:
        captured: Its graph, None if it has none.
        reason: Why it has none.
        types: The floating-point types of the graph's weights.
        devices: Where these are.
        compact: See :class:`~lic_fast.engine.program.Program`: functions have many networks, whose
            maps are small.
    """

    captured: Capture | None
    reason: str
    types: set[torch.dtype]
    devices: set[torch.device]
    compact: bool
    _state: State
    _version: int
    _programs: dict[bool, Program] = field(default_factory=dict)

    def holds(self) -> bool:
        """Whether all that it was made of is as it was."""
        if self._version != registry.version():
            return False
        return self._state.attributes_hold() if self.captured is None else self._state.holds()

    def program(self, bfloat16: bool) -> Program:
        """The program of the graph, made on first use."""
        found = self._programs.get(bfloat16)
        if found is None:
            with _LOCK:
                found = self._programs.get(bfloat16)
                if found is None:
                    assert self.captured is not None
                    graph = self.captured.graph
                    found = Program(graph, bfloat16, self.compact)
                    self._programs[bfloat16] = found
        return found


_ENTRIES: WeakKeyDictionary[nn.Module, dict[Key, Entry]] = WeakKeyDictionary()
_LOCK = RLock()


def _new_lock() -> None:
    """In the child of a fork, which another thread's lock would stop for ever."""
    global _LOCK
    _LOCK = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def entry_of(network: nn.Module, method: str, channels: int, layout: Layout) -> Entry:
    """What is known of ``getattr(network, method)`` for such an input; found out where it is not.

    Each thread may call it at any time.
    """
    return _entry((network,), method, (channels,), layout)


def entry_of_function(
    function: Function, networks: Sequence[nn.Module], channels: Sequence[int]
) -> Entry:
    """What is known of a function of networks, for inputs (B, C, H, W) of these channels."""
    return _entry(networks, function, channels, "BCHW")


def _entry(
    networks: Sequence[nn.Module], what: str | Function, channels: Sequence[int], layout: Layout
) -> Entry:
    network = networks[0]
    name = what if isinstance(what, str) else _Reference(what)
    key = (name, tuple(channels), layout, tuple(map(id, networks[1:])))
    entries = _ENTRIES.get(network)
    found = None if entries is None else entries.get(key)
    if found is not None and found.holds():
        return found
    with _LOCK:
        entries = _ENTRIES.setdefault(network, {})
        other = entries.get(key)
        # Another thread may have been here before.
        if other is None or other is found or not other.holds():
            for stale in [key for key, entry in entries.items() if _is_stale(key, entry)]:
                del entries[stale]
            other = entries[key] = _made(networks, what, key)
        return other


def _is_stale(key: Key, entry: Entry) -> bool:
    what = key[0]
    return (isinstance(what, _Reference) and not what.lives()) or not entry.holds()


def cached(network: nn.Module) -> list[tuple[str, int, Layout]]:
    """Methods of which something is known by now, channels and layouts of their inputs."""
    known = _ENTRIES.get(network, {})
    return [
        (what, channels[0], layout) for what, channels, layout, _ in known if isinstance(what, str)
    ]


def _made(networks: Sequence[nn.Module], what: str | Function, key: Key) -> Entry:
    # Before, so that what changes meanwhile is noticed at the next call.
    register_models()
    version = registry.version()
    _, channels, layout, _ = key
    state = State(modules_of(networks))
    try:
        if isinstance(what, str):
            captured = capture(networks[0], what, channels[0], layout)
        else:
            captured = capture_function(what, networks, channels, layout)
    except Unsupported as reason:
        return Entry(None, str(reason), set(), set(), False, state, version)
    if captured.children is not None:
        narrow = State(modules_of(networks, captured.children))
        # What was written meanwhile is noticed at the next call by what was taken before.
        if state.holds():
            state = narrow
    weights = [
        weight
        for node in captured.graph.nodes
        for weight in node.weights.values()
        if weight is not None
    ]
    types = {weight.dtype for weight in weights}
    devices = {weight.device for weight in weights}
    return Entry(captured, "", types, devices, not isinstance(what, str), state, version)
