"""pmf_to_quantized_cdf, against compressai's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compressai._CXX import pmf_to_quantized_cdf as compressai_pmf_to_quantized_cdf
from hypothesis import given
from hypothesis import strategies as st

from lic_fast.ans import CdfTables, pmf_to_quantized_cdf

WEIGHTS = st.one_of(st.just(0.0), st.floats(0, 1), st.floats(0, 1e-4), st.floats(0.5, 1))


@given(st.lists(WEIGHTS, min_size=1, max_size=40), st.booleans(), st.integers(6, 16))
def test_small_pmfs(pmf, normalised, precision):
    if normalised and sum(pmf) > 0:
        pmf = [p / sum(pmf) for p in pmf]
    try:
        expected = compressai_pmf_to_quantized_cdf(pmf, precision)
    except ValueError:
        with pytest.raises(ValueError, match="no probability"):
            pmf_to_quantized_cdf(pmf, precision)
        return
    cdf = pmf_to_quantized_cdf(pmf, precision)
    assert cdf == expected
    assert cdf[0] == 0
    assert cdf[-1] == 1 << precision
    assert min(np.diff(cdf)) > 0


@pytest.mark.parametrize("size", [300, 3133, 20000])
@pytest.mark.parametrize("spread", [0.11, 3, 80, 1000])
def test_large_pmfs_that_need_much_stealing(size, spread):
    pmf = np.exp(-(((np.arange(size) - size / 3) / spread) ** 2))
    pmf = (pmf / pmf.sum()).tolist()
    assert pmf_to_quantized_cdf(pmf) == compressai_pmf_to_quantized_cdf(pmf, 16)


def test_ties_are_taken_from_the_first():
    pmf = [0.2, 0.0, 0.2, 0.0, 0.2, 0.0, 0.2, 0.2]
    cdf = pmf_to_quantized_cdf(pmf)
    assert cdf == compressai_pmf_to_quantized_cdf(pmf, 16)
    # 13107 each, one more for the last; the first gives all three.
    assert np.diff(cdf).tolist() == [13104, 1, 13107, 1, 13107, 1, 13107, 13108]


@pytest.mark.parametrize("precision", [1, 2, 8, 17, 24, 30])
def test_precisions(precision):
    pmf = [0.3, 0.7]
    assert pmf_to_quantized_cdf(pmf, precision) == compressai_pmf_to_quantized_cdf(pmf, precision)


def test_as_many_symbols_as_slots():
    assert pmf_to_quantized_cdf([1.0] + [0.0] * 65535) == list(range(65537))
    assert pmf_to_quantized_cdf([0.5, 0.5], precision=1) == [0, 1, 2]


def test_kinds_of_arguments():
    pmf = [0.1, 0.25, 0.65]
    expected = compressai_pmf_to_quantized_cdf(pmf, 16)
    for kind in (tuple, np.array, np.float32, torch.tensor):
        assert pmf_to_quantized_cdf(kind(pmf)) == expected
    assert pmf_to_quantized_cdf(torch.tensor(pmf).requires_grad_()) == expected
    assert pmf_to_quantized_cdf(np.repeat(pmf, 2)[::2]) == expected
    CdfTables([expected], [len(expected)], [0])


@pytest.mark.parametrize(
    ("pmf", "precision", "message"),
    [
        ([], 16, "empty"),
        ([0.5, -0.5], 16, r"pmf\[1\] is -0.5"),
        ([float("nan"), 1.0], 16, r"pmf\[0\] is nan"),
        ([1.0, float("inf")], 16, r"pmf\[1\] is inf"),
        ([0.0, 0.0], 16, "no probability"),
        ([1e-9] * 5, 16, "no probability"),
        ([70000.0], 16, "sums to more"),
        ([40000.0, 40000.0], 16, "sums to more"),
        ([1e30], 16, "sums to more"),
        ([0.1] * 5, 2, "5 symbols; a precision of 2 bits allows 4"),
        ([1e-5] * 65537, 16, "65537 symbols"),
        ([1.0], 0, "precision is 0"),
        ([1.0], -1, "precision is -1"),
        ([1.0], 31, "precision is 31"),
        ([[0.5, 0.5]], 16, "one dimension"),
        (0.5, 16, "one dimension"),
    ],
)
def test_bad_pmfs(pmf, precision, message):
    with pytest.raises(ValueError, match=message):
        pmf_to_quantized_cdf(pmf, precision)
