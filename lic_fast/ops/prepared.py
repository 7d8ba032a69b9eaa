"""What an operator makes of its weights once: packed, converted or merged tensors.

A prepared value belongs to the tensors that it was made of and is used for as long as their
:func:`~lic_fast.ops.stamp.stamp` stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from lic_fast.ops.stamp import Stamp, stamp

__all__ = ["prepared", "present"]

_T = TypeVar("_T")

_VALUES = WeakTensorKeyDictionary()
"""From the first source to {key: (stamp of all sources, value)}."""


def prepared(key: Hashable, sources: Sequence[Tensor], build: Callable[[], _T]) -> _T:
    """The value that `build` made of `sources`, made anew when they have changed.

    Args:
        key: What is made of them, with all else that it depends on.
        sources: Tensors, at least one. The value lives as long as the first.
        build: Makes the value, without gradients. It must not hold `sources`
            themselves, or they would live forever.
    """
    known: dict[Hashable, tuple[Stamp, Any]] = _VALUES.setdefault(sources[0], {})
    found = stamp(sources)
    entry = known.get(key)
    if entry is not None and entry[0] == found:
        return entry[1]
    with torch.no_grad():
        value = build()
    known[key] = (found, value)
    return value


def present(*tensors: Tensor | None) -> list[Tensor]:
    """Those that are not None."""
    return [tensor for tensor in tensors if tensor is not None]
