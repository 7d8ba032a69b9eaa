"""Memory for large arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lic_fast import _C

__all__ = ["empty"]

_SMALL = 2**20


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array without contents, as ``numpy.empty`` makes it.

    A large one is in memory of the extension's own, which goes back to the system. What the heap
    gets it keeps, in pieces between other things: after a large picture a few hundred MB.
    """
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    if size < _SMALL:
        return np.empty(shape, dtype)
    return np.frombuffer(memoryview(_C.Memory(size)), dtype, count).reshape(shape)
