"""Memory for large arrays."""

import gc

import numpy as np
import pytest

from lic_fast import _C
from lic_fast.runtime.memory import empty


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(3,), (2, 0, 5), (2, 700, 1000), (3, 2**22)])
def test_arrays_are_those_of_numpy(shape, dtype):
    arrays = [empty(shape, dtype) for _ in range(3)]
    for i, array in enumerate(arrays):
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        array[...] = i
    assert all((array == i).all() for i, array in enumerate(arrays))  # each has its own
    part = arrays[2][-1:]
    del arrays, array
    gc.collect()
    empty(shape, dtype)[...] = 5
    assert (part == 2).all()  # a view keeps the memory


def test_no_memory_is_an_error():
    for size in (2**63, 2**64 - 1, 2**60):
        with pytest.raises(MemoryError):
            _C.Memory(size)
    with pytest.raises(MemoryError):
        empty((2**20, 2**20, 2**20), np.uint8)
