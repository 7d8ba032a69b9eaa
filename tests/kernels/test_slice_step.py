"""The slice kernels against the definitions: all bit for bit, but latent residual prediction."""

import math

import numpy as np
import pytest
import torch
from compressai.models.base import get_scale_table
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast.errors import LatentError
from lic_fast.kernels import slice_step as kernels
from lic_fast.ops.add_residual import _launch as launch_add_residual
from lic_fast.ops.quantize import (
    _launch_dequantize,
    _launch_quantize,
    _launch_scale_index,
    reference_dequantize,
    reference_quantize,
    reference_scale_index,
)
from tests.kernels.operands import DEVICE, TYPES, moved, unit_roundoff
from tests.ops.test_quantize import FLOATS, LAYOUTS, TABLES, arranged, assert_same, bits, latents

INF, NAN = float("inf"), float("nan")

# The interpreter computes with numpy, which warns of what is not finite.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")


def on_cpu(tensors):
    return [t.cpu() for t in tensors]


@settings(max_examples=40, deadline=None)
@given(latents())
def test_is_the_definition_in_every_layout(operands):
    table = get_scale_table()
    expected = reference_quantize(*operands, table)
    y, mean, scale = (moved(x) for x in operands)
    table = table.to(DEVICE)
    actual = _launch_quantize(y, mean, scale, table)
    assert_same(on_cpu(actual), expected)
    assert_same(on_cpu([_launch_scale_index(scale, table)]), [expected.indexes])
    for symbols in (actual.symbols, actual.symbols.int()):
        assert_same(
            on_cpu([_launch_dequantize(symbols, mean)]),
            [reference_dequantize(expected.symbols, operands[1])],
        )


@pytest.mark.parametrize("shape", [(2, 3, 2, 3, 2, 3), (1, 1, 5, 1), (7,), ()])
def test_any_number_of_dimensions(shape):
    torch.manual_seed(0)
    y, mean, scale = (torch.randn(shape) * 5 for _ in range(3))
    # Every second dimension reversed: no two of six can be merged.
    order = sorted(range(len(shape)), key=lambda d: (d % 2, -d))
    back = [order.index(d) for d in range(len(shape))]
    y = y.permute(order).contiguous().permute(back)
    table = get_scale_table()
    expected = reference_quantize(y, mean, scale, table)
    actual = _launch_quantize(moved(y), moved(mean), moved(scale), table.to(DEVICE))
    assert_same(on_cpu(actual), expected)
    out = launch_add_residual(moved(y), moved(mean)).cpu()
    assert out.stride() == torch.empty_like(y).stride()
    torch.testing.assert_close(out, y + 0.5 * mean.tanh(), rtol=0, atol=1e-5)


def run_quantize(y, mean, scale, table, symbol):
    """Poisoned outputs, and the peak as a number."""
    symbols = torch.full(y.shape, 123, dtype=symbol, device=DEVICE)
    indexes = torch.full(y.shape, 255, dtype=torch.uint8, device=DEVICE)
    y_hat = torch.full(y.shape, NAN, device=DEVICE)
    peak = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    operands = [moved(x) for x in (y, mean, scale, table)]
    kernels.quantize(*operands, symbols=symbols, indexes=indexes, y_hat=y_hat, peak=peak)
    return symbols.cpu(), indexes.cpu(), y_hat.cpu(), peak.view(torch.float32).item()


@pytest.mark.parametrize("symbol", [torch.int16, torch.int32])
@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=40))
def test_special_values(symbol, values):
    y, mean = torch.from_numpy(np.array(values, np.float32).T.copy())
    symbols, _, y_hat, peak = run_quantize(y, mean, torch.ones(len(y)), get_scale_table(), symbol)
    rounded = (y - mean).round()
    expected_peak = rounded.abs().max().item()
    assert peak == expected_peak or (math.isnan(peak) and math.isnan(expected_peak))
    expected = rounded + mean
    known = ~expected.isnan()
    assert torch.equal(y_hat.isnan(), expected.isnan())
    assert torch.equal(bits(y_hat[known]), bits(expected[known]))
    if peak < (2**15 if symbol == torch.int16 else 2**29):
        assert torch.equal(symbols, rounded.to(symbol))


@settings(max_examples=60, deadline=None)
@given(entries=TABLES, more=st.lists(st.floats(width=32), max_size=30))
def test_any_table(entries, more):
    table = torch.tensor(entries)
    wild = [0.0, -0.0, 1e-45, -1e-45, 1.0, INF, -INF, NAN, math.copysign(NAN, -1)]
    near = [table, table.nextafter(torch.tensor(INF)), table.nextafter(torch.tensor(-INF))]
    scale = torch.cat([*near, torch.tensor(wild + more)])
    expected = reference_scale_index(scale, table)
    indexes = torch.full(scale.shape, 255, dtype=torch.uint8, device=DEVICE)
    kernels.scale_index(moved(scale), moved(table), indexes=indexes)
    assert torch.equal(indexes.cpu(), expected)
    zeros = torch.zeros(len(scale))
    _, indexes, _, _ = run_quantize(zeros, zeros, scale, table, torch.int16)
    assert torch.equal(indexes, expected)


def test_rounding_of_floats_of_every_exponent():
    y = torch.arange(-(2**31), 2**31, 40961).int().view(torch.float32)
    y = torch.cat([y, torch.arange(-1000, 1000) / 2, 2.0**22 + torch.arange(-8, 8) / 2])
    zeros, known = torch.zeros(len(y)), ~y.isnan()
    # Minus zero as mean lets the sign of a symbol of zero be seen.
    for mean in (zeros, -zeros):
        _, _, y_hat, _ = run_quantize(y, mean, zeros, torch.ones(1), torch.int32)
        expected = (y - mean).round() + mean
        assert torch.equal(bits(y_hat[known]), bits(expected[known]))


@pytest.mark.parametrize("value", [NAN, INF, -INF, 2.0**29, -3e9])
def test_symbols_that_cannot_be_coded(value):
    y = torch.zeros(3, 50)
    y[1, 20] = value
    zeros = torch.zeros(3, 50)
    with pytest.raises(LatentError, match="not finite"):
        _launch_quantize(moved(y), moved(zeros), moved(zeros), get_scale_table().to(DEVICE))


def test_large_symbols_take_32_bits():
    y = torch.tensor([1.0, -32768.0, 2.0**29 - 32])
    zeros = torch.zeros(3)
    operands = [moved(x) for x in (y, zeros, zeros)]
    symbols = _launch_quantize(*operands, get_scale_table().to(DEVICE)).symbols
    assert symbols.dtype == torch.int32
    assert torch.equal(symbols.cpu(), y.int())


def test_a_table_that_is_written_to_is_looked_at_again():
    table, scale = get_scale_table().to(DEVICE), torch.tensor([0.5, 3.0, 100.0], device=DEVICE)
    before = _launch_scale_index(scale, table)
    table *= 2
    assert torch.equal(_launch_scale_index(2 * scale, table), before)
    table[3] = table[2] / 2
    with pytest.raises(ValueError, match="must ascend"):
        _launch_scale_index(scale, table)
    with torch.inference_mode():
        descending = table.clone()
    with pytest.raises(ValueError, match="must ascend"):
        _launch_scale_index(scale, descending)


@pytest.mark.parametrize("dtype", TYPES)
@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (2, 20, 9, 20))),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
    spread=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=st.integers(0, 2**31),
)
def test_add_residual_is_the_definition(dtype, shape, layouts, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    quantized, lrp = (
        arranged(torch.randn(shape, generator=generator) * spread, layout).to(dtype)
        for layout in layouts
    )
    out = torch.full_like(moved(quantized), NAN)
    kernels.add_residual(moved(quantized), moved(lrp), out=out)
    expected = quantized.double() + 0.5 * lrp.double().tanh()
    # Half of a quotient of three float32 roundings and an exponential of two units, then the sum.
    bound = 4 * 2.0**-24 + (2.0**-24 + unit_roundoff(dtype)) * (expected.abs() + 2.0**-20)
    error = (out.double().cpu() - expected).abs()
    assert (error <= bound).all(), (error / bound).max()


def test_add_residual_at_the_ends():
    lrp = torch.tensor([0.0, -0.0, 1e30, -1e30, INF, -INF, NAN, 1e-30])
    out = launch_add_residual(torch.zeros(8, device=DEVICE), lrp.to(DEVICE)).cpu()
    assert out[:6].tolist() == [0, 0, 0.5, -0.5, 0.5, -0.5]
    assert out[6].isnan()
    assert abs(out[7].item()) <= 2**-24
    empty = launch_add_residual(*(torch.zeros(2, 0, device=DEVICE) for _ in range(2)))
    assert empty.shape == (2, 0)
