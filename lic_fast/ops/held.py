"""What was made of whole networks once, for as long as nothing in them has changed.

As :mod:`~lic_fast.ops.prepared`, of modules instead of tensors, by their
:class:`~lic_fast.ops.state.State`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from lic_fast.ops.state import State, modules_of

__all__ = ["held"]

_T = TypeVar("_T")

_VALUES: WeakKeyDictionary[nn.Module, dict[Hashable, tuple[list[int], State, Any]]] = (
    WeakKeyDictionary()
)
"""From the first network to {key: (identities of the networks, their state, value)}."""


def held(key: Hashable, networks: Sequence[nn.Module], build: Callable[[], _T]) -> _T:
    """The value that `build` made of the networks, made anew when they have changed.

    Args:
        key: What is made of them, with all else that it depends on.
        networks: At least one. The value lives as long as the first.
        build: Makes the value, without gradients. It must not hold the networks.
    """
    known = _VALUES.setdefault(networks[0], {})
    roots = list(map(id, networks))
    entry = known.get(key)
    # Modules of a state that holds live: no other has the same number.
    if entry is not None and entry[0] == roots and entry[1].holds():
        return entry[2]
    # Before, so that what changes meanwhile is noticed at the next call.
    state = State(modules_of(networks))
    with torch.no_grad():
        value = build()
    known[key] = roots, state, value
    return value
