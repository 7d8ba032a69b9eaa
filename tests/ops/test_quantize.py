"""Rounding and scale indexes against CompressAI's."""

import pytest
import torch
from compressai.entropy_models import GaussianConditional
from compressai.models.base import get_scale_table
from hypothesis import given
from hypothesis import strategies as st

from lic_fast.ops import round_ste, scale_index

SCALES = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50)


@given(SCALES)
def test_scale_index_is_compressai_s(values):
    model = GaussianConditional(None)
    model.update_scale_table(get_scale_table())
    table = model.scale_table
    # The entries themselves and their neighbours are where an index changes.
    edges = torch.cat(
        [table, torch.nextafter(table, torch.tensor(1e9)), torch.nextafter(table, -table)]
    )
    scales = torch.cat([torch.tensor(values, dtype=torch.float32), edges])
    expected = model.build_indexes(scales)
    assert torch.equal(scale_index(scales, table).int(), expected.int())


def test_scale_index_of_nan_is_the_largest():
    assert scale_index(torch.tensor([float("nan")]), get_scale_table()).item() == 63


@pytest.mark.parametrize("size", [0, 257])
def test_scale_tables_have_as_many_entries_as_a_byte_counts(size):
    with pytest.raises(ValueError, match=f"not {size}"):
        scale_index(torch.ones(1), torch.arange(size).float())


def test_round_ste_is_exact_and_passes_the_gradient():
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, 1e7 + 0.5, 0.49999997], requires_grad=True)
    rounded = round_ste(x)
    assert torch.equal(rounded, x.detach().round())
    rounded.backward(torch.arange(6.0))
    assert torch.equal(x.grad, torch.arange(6.0))
