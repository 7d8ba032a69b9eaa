"""Rounding, scale indexes and symbols against CompressAI's and the plain definitions."""

import numpy as np
import pytest
import torch
from compressai.entropy_models import GaussianConditional
from compressai.models.base import get_scale_table
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.errors import LatentError
from lic_fast.ops import dequantize, quantize, round_ste, scale_index

ISAS = rans.instruction_sets()
SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 1e-40, 32767.0, 32767.5, -32768.0]

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


def same_bits(a, b):
    return a.dtype == b.dtype and torch.equal(a.view(torch.int32), b.view(torch.int32))


def arranged(x, layout):
    """The same values in another memory layout."""
    if layout == "channels last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "slice":
        return torch.cat([x + 1, x, x - 1], 1).chunk(3, 1)[1]
    if layout == "transposed":
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    return x


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, n) for n in (2, 5, 40, 70)]),
    layouts=st.tuples(*[st.sampled_from(["dense", "channels last", "slice", "transposed"])] * 3),
    spread=st.sampled_from([1.0, 100.0, 1e5]),
    seed=st.integers(0, 2**31),
)
def test_fused_is_the_definition_in_every_layout(shape, layouts, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    y, mean, scale = (
        arranged(torch.randn(*shape, generator=generator) * spread, layout) for layout in layouts
    )
    table = get_scale_table()
    with backend("reference"):
        expected = quantize(y, mean, scale, table)
    actual = quantize(y, mean, scale, table)
    assert torch.equal(actual.symbols.int(), expected.symbols)
    assert (actual.symbols.dtype == torch.int16) == bool((expected.symbols.abs() < 32768).all())
    assert torch.equal(actual.indexes, expected.indexes)
    assert same_bits(actual.y_hat.contiguous(), expected.y_hat.contiguous())
    assert all(x.is_contiguous() for x in actual)
    assert torch.equal(scale_index(scale, table), expected.indexes)
    for symbols in (actual.symbols, expected.symbols):
        assert same_bits(dequantize(symbols, mean), expected.y_hat.contiguous())
    model = GaussianConditional(table.tolist())
    assert torch.equal(model.quantize(y, "symbols", mean), expected.symbols)
    assert torch.equal(model.build_indexes(scale), expected.indexes.int())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("entries", [1, 2, 5, 64, 65, 256])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_table_on_every_instruction_set(isa, entries, data):
    values = st.floats(2.0**-126, 2.0**126, width=32)
    table = np.sort(
        np.array(data.draw(st.lists(values, min_size=entries, max_size=entries)), np.float32)
    )
    wild = [0.0, -0.0, -1.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45]
    near = np.concatenate([np.nextafter(table, np.inf), np.nextafter(table, 0), table, wild])
    scale = np.concatenate([near, np.geomspace(1e-30, 1e30, 40)]).astype(np.float32)
    indexes = np.empty(scale.shape, np.uint8)
    _C.scale_index(scale, _C.ScaleSearch(table), indexes, 2, isa)
    expected = np.searchsorted(table[:-1], scale, side="left")
    assert np.array_equal(indexes, expected)


@pytest.mark.parametrize("isa", ISAS)
def test_ties_and_zeros_on_every_instruction_set(isa):
    y = np.tile(np.array(SPECIAL, np.float32), 5)
    mean = np.repeat(np.array([0, -0.0, 1, -0.5, 0.25], np.float32), len(SPECIAL))
    keep = np.abs(y - mean) < 32767
    y, mean = y[keep], mean[keep]
    scale = np.ones_like(y)
    search = _C.ScaleSearch(get_scale_table().numpy())
    symbols, indexes = np.empty(y.shape, np.int16), np.empty(y.shape, np.uint8)
    y_hat = np.empty_like(y)
    assert _C.quantize(y, mean, scale, search, symbols, indexes, y_hat, 1, isa)
    rounded = torch.from_numpy(y - mean).round()
    assert torch.equal(torch.from_numpy(symbols).float(), rounded)
    assert same_bits(torch.from_numpy(y_hat), rounded + torch.from_numpy(mean))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("value", [32767.5, -32769.0, 3e9, float("inf"), float("nan")])
def test_what_does_not_fit_16_bits_is_noticed(isa, value):
    search = _C.ScaleSearch(get_scale_table().numpy())
    for place in (0, 17, 99):
        y = np.zeros(100, np.float32)
        y[place] = value
        outputs = (np.empty(100, np.int16), np.empty(100, np.uint8), np.empty(100, np.float32))
        assert not _C.quantize(y, np.zeros_like(y), np.ones_like(y), search, *outputs, 1, isa)


def test_a_table_that_changes_in_place_is_not_stale():
    table = get_scale_table()
    scale = torch.tensor([0.5, 3.0])
    first = scale_index(scale, table)
    table.mul_(2)
    second = scale_index(scale, table)
    assert not torch.equal(first, second)
    with backend("reference"):
        assert torch.equal(scale_index(scale, table), second)


def test_other_types_and_large_symbols_go_to_the_definition():
    table = get_scale_table()
    y = torch.tensor([40000.25, -3.0], dtype=torch.float64)
    found = quantize(y, torch.zeros_like(y), torch.ones_like(y), table.double())
    assert found.symbols.tolist() == [40000, -3]
    assert found.y_hat.dtype == torch.float64
    assert quantize(y.float(), *2 * [torch.ones(2)], table).symbols.tolist() == [39999, -4]
    with pytest.raises(LatentError, match="not finite"):
        quantize(y.float() * 1e6, *2 * [torch.ones(2)], table)


def test_shapes_that_differ_are_refused():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="one shape"):
        quantize(x, x, x[:1], get_scale_table())
    with pytest.raises(ValueError, match="symbols have shape"):
        dequantize(x.short(), x[:1])


def test_gradients_do_not_get_in_the_way():
    x = torch.randn(1, 2, 3, 4, requires_grad=True)
    found = quantize(x, x * 0.5, x * x + 1, get_scale_table())
    assert torch.equal(dequantize(found.symbols, x * 0.5), found.y_hat)
