"""What was made of whole networks once, for as long as nothing in them has changed.

As :mod:`~lic_fast.ops.prepared`, of modules: a value is used for as long as a snapshot of all
modules in the networks holds, which notices hooks, replaced modules and tensors, and all other
attributes, and as their tensors' numbers stay as they were. One look at thousands of tensors
takes a fraction of a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from lic_fast import _C
from lic_fast.ops.plain import GLOBAL_HOOKS
from lic_fast.ops.stamp import Stamps

__all__ = ["held"]

_T = TypeVar("_T")


class _Held(NamedTuple):
    roots: list[int]
    snapshot: _C.Snapshot
    stamps: Stamps
    value: Any


_VALUES: WeakKeyDictionary[nn.Module, dict[Hashable, _Held]] = WeakKeyDictionary()
"""Of the first network."""


def held(key: Hashable, networks: Sequence[nn.Module], build: Callable[[], _T]) -> _T:
    """The value that `build` made of the networks, made anew when they have changed.

    Args:
        key: What is made of them, with all else that it depends on.
        networks: At least one. The value lives as long as the first.
        build: Makes the value, without gradients. It must not hold the networks.
    """
    known = _VALUES.setdefault(networks[0], {})
    entry = known.get(key)
    # Modules of a snapshot that holds live: no other has the same number.
    if (
        entry is not None
        and entry.roots == list(map(id, networks))
        and entry.snapshot.holds()
        and entry.stamps.hold()
    ):
        return entry.value
    modules = _modules(networks)
    # Before, so that what changes meanwhile is noticed at the next call.
    snapshot = _C.Snapshot(modules, GLOBAL_HOOKS)
    tensors = [
        tensor
        for module in modules
        for group in (module._parameters, module._buffers)
        for tensor in group.values()
        if tensor is not None
    ]
    stamps = Stamps(tensors)
    with torch.no_grad():
        value = build()
    known[key] = _Held(list(map(id, networks)), snapshot, stamps, value)
    return value


def _modules(networks: Sequence[nn.Module]) -> list[nn.Module]:
    """All modules in networks, each once."""
    found: dict[int, nn.Module] = {}
    waiting = list(networks)
    for module in waiting:
        if id(module) not in found:
            found[id(module)] = module
            waiting += [child for child in module._modules.values() if child is not None]
    return list(found.values())
