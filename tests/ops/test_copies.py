"""Copies of arrays in another order: NumPy's are the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C


@st.composite
def arrays(draw):
    """An array in any order of dimensions, with gaps, and another of its shape to copy it to."""
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=6))
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]))

    def laid_out(fill):
        order = draw(st.permutations(range(len(shape))))
        gaps = [draw(st.integers(0, 1)) for _ in shape]
        whole = np.full([shape[i] + gap for i, gap in zip(order, gaps, strict=True)], fill, dtype)
        whole.reshape(-1)[:] = np.arange(whole.size) % 251 if fill else 0
        part = whole[tuple(slice(shape[i]) for i in order)]
        return whole, part.transpose(np.argsort(order).tolist())

    return laid_out(1), laid_out(0)


@settings(max_examples=200, deadline=None)
@given(both=arrays(), threads=st.integers(1, 3))
def test_any_order_of_dimensions(both, threads):
    (_, source), (whole, to) = both
    _C.copy(source, to, threads)
    np.testing.assert_array_equal(to, source)
    written = to.copy()
    to[...] = 0
    assert not whole.any(), "numbers beside the array were written"
    np.testing.assert_array_equal(written, source)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_arrays_of_many_tasks(threads, order):
    source = np.arange(70 * 90 * 53, dtype=np.float32).reshape(70, 90, 53).transpose(order)
    to = np.zeros(source.shape, np.float32)
    _C.copy(source, to, threads)
    np.testing.assert_array_equal(to, source)


def test_one_number_to_many_places():
    to = np.zeros((3, 4), np.float32)
    _C.copy(np.broadcast_to(np.float32(7), (3, 4)), to, 1)
    assert (to == 7).all()


@pytest.mark.parametrize(
    ("source", "to", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "one type and one shape"),
        (np.zeros((2, 3)), np.zeros(6), "one type and one shape"),
        (np.zeros(3), np.zeros(3, np.float32), "one type and one shape"),
        (np.zeros(3)[::-1], np.zeros(3), "backwards"),
        (np.zeros(3), np.zeros(3)[::-1], "backwards"),
        (np.zeros(2, "c16"), np.zeros(2, "c16"), "1, 2, 4 or 8 bytes"),
    ],
)
def test_what_cannot_be_copied_is_refused(source, to, message):
    with pytest.raises(ValueError, match=message):
        _C.copy(source, to, 1)


def test_arrays_that_must_not_be_written_are_refused():
    fixed = np.zeros(3)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        _C.copy(np.ones(3), fixed, 1)
    with pytest.raises(ValueError, match="overlap"):
        _C.copy(np.ones(3), np.lib.stride_tricks.as_strided(np.zeros(1), (3,), (0,)), 1)
