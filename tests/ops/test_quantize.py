"""Symbols, scale indexes and y-hat against CompressAI's and the plain definitions, bit for bit."""

import math
import threading

import numpy as np
import pytest
import torch
from compressai.entropy_models import GaussianConditional
from compressai.models.base import get_scale_table
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend
from lic_fast.errors import LatentError
from lic_fast.ops import dequantize, quantize, round_ste, scale_index

INF, NAN = float("inf"), float("nan")
ISAS = _C.instruction_sets()
SIZES = [0, 1, 7, 8, 15, 16, 17, 37]
LAYOUTS = ["dense", "channels last", "slice", "channels last slice", "cropped", "reversed", "row"]


def bits(x):
    """What tells 0 from -0."""
    assert x.is_contiguous()
    return (
        x if not x.is_floating_point() else x.view(torch.int32 if x.itemsize == 4 else torch.int64)
    )


def assert_same(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype
        assert a.shape == e.shape
        assert torch.equal(bits(a), bits(e))


def arranged(x, layout):
    """The values of a (B, C, H, W) tensor in another memory layout."""
    batch, channels, height, width = x.shape
    if layout == "channels last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout in ("slice", "channels last slice"):
        wide = torch.full((batch, channels + 5, height, width), NAN)
        if layout == "channels last slice":
            wide = wide.contiguous(memory_format=torch.channels_last)
        wide[:, 2:-3] = x
        return wide[:, 2:-3]
    if layout == "cropped":
        wide = torch.full((batch, channels, height + 3, width + 2), NAN)
        wide[..., 1:-2, :-2] = x
        return wide[..., 1:-2, :-2]
    if layout == "reversed":
        return x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    if layout == "row":
        return x[..., :1].expand(x.shape)
    return x.contiguous()


@st.composite
def latents(draw):
    shape = draw(st.tuples(*(st.integers(1, n) for n in (2, 40, 9, 40))))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.5, 3.0, 1e5]))
    y, mean, scale = (torch.randn(shape, generator=generator) * spread for _ in range(3))
    if draw(st.booleans()):  # ties
        y, mean = y.round() / 2, mean.round()
    return [arranged(x, draw(st.sampled_from(LAYOUTS))) for x in (y, mean, scale.exp())]


@settings(max_examples=200, deadline=None)
@given(latents())
def test_fused_is_the_definition_in_every_layout(operands):
    table = get_scale_table()
    with backend("reference"):
        expected = quantize(*operands, table)
        expected_again = dequantize(expected.symbols, operands[1])
    actual = quantize(*operands, table)
    assert_same(actual, expected)
    assert_same([scale_index(operands[2], table)], [expected.indexes])
    assert_same([dequantize(actual.symbols, operands[1])], [expected_again])
    assert_same([dequantize(actual.symbols.int(), operands[1])], [expected_again])


@settings(max_examples=100, deadline=None)
@given(latents())
def test_is_compressai_s(operands):
    y, mean, scale = operands
    model = GaussianConditional(None)
    model.update_scale_table(get_scale_table())
    symbols, indexes, y_hat = quantize(y, mean, scale, model.scale_table)
    assert torch.equal(symbols.int(), model.quantize(y, "symbols", mean))
    assert torch.equal(indexes.int(), model.build_indexes(scale))
    assert_same([y_hat], [model.quantize(y, "dequantize", mean).contiguous()])
    assert_same([dequantize(symbols, mean)], [model.dequantize(symbols, mean).contiguous()])


SPECIAL = [0.0, -0.0, 0.5, -0.5, 0.49999997, 1.5, -1.5, 2.5, -2.5, 8388607.5, 8388609.0, 1e-45]
LARGE = [16777217.0, 32766.5, 32767.0, 32767.5, -32767.5, -32768.0, 2.0**29, 3e9, -1e-45, 1e-38]
FLOATS = st.sampled_from(SPECIAL + LARGE) | st.floats(width=32) | st.floats(-4, 4, width=32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("symbol", ["int16", "int32"])
@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=40), size=st.sampled_from(SIZES)
)
def test_special_values_on_every_instruction_set(isa, symbol, values, size):
    y, mean = np.resize(np.array(values, np.float32), (size, 2)).T
    outputs = [np.empty(size, t) for t in (symbol, np.uint8, np.float32)]
    table = get_scale_table().numpy()
    peak = _C.quantize(y, mean, np.ones_like(y), table, *outputs, 1, isa)
    rounded = (torch.from_numpy(y) - torch.from_numpy(mean)).round()
    expected_peak = rounded.abs().max().item() if size else 0.0
    assert peak == expected_peak or (math.isnan(peak) and math.isnan(expected_peak))
    y_hat = rounded + torch.from_numpy(mean)
    known = ~y_hat.isnan()
    assert torch.equal(torch.from_numpy(outputs[2]).isnan(), y_hat.isnan())
    assert torch.equal(bits(torch.from_numpy(outputs[2])[known]), bits(y_hat[known]))
    if peak < (2**15 if symbol == "int16" else 2**29):
        assert np.array_equal(outputs[0], rounded.numpy())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("symbol", ["int16", "int32"])
@given(data=st.data(), size=st.sampled_from(SIZES))
def test_dequantize_on_every_instruction_set(isa, symbol, data, size):
    limits = np.iinfo(symbol)
    values = data.draw(st.lists(st.integers(limits.min, limits.max), min_size=1, max_size=20))
    means = data.draw(st.lists(FLOATS.filter(lambda x: x == x), min_size=1, max_size=20))
    symbols = np.resize(np.array(values, symbol), size)
    mean = np.resize(np.array(means, np.float32), size)
    y_hat = np.empty(size, np.float32)
    _C.dequantize(symbols, mean, y_hat, 1, isa)
    with backend("reference"):
        expected = dequantize(torch.from_numpy(symbols), torch.from_numpy(mean))
    assert_same([torch.from_numpy(y_hat)], [expected])


TABLES = st.one_of(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=256).map(sorted),
    # Duplicates, zeros, denormals, infinities.
    st.lists(
        st.sampled_from([-INF, -1.0, -0.0, 0.0, 1e-45, 2e-45, 0.5, 1.0, 3.4028235e38, INF]),
        min_size=1,
        max_size=12,
    ).map(sorted),
    # As models have them, with more buckets than registers hold, and with more than are used.
    st.builds(
        lambda low, ratio, n: [low * ratio**i for i in range(n)],
        st.floats(0.001, 1.0),
        st.floats(1.001, 1.2),
        st.integers(1, 256),
    ),
    st.builds(
        lambda low, step, n: [low + step * i for i in range(n)],
        st.floats(0.0, 1.0),
        st.floats(1e-6, 1.0),
        st.integers(1, 256),
    ),
)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=150, deadline=None)
@given(entries=TABLES, more=st.lists(st.floats(width=32), max_size=30))
def test_any_table_on_every_instruction_set(isa, entries, more):
    table = torch.tensor(entries)
    assert table.dtype == torch.float32
    wild = [0.0, -0.0, 1e-45, -1e-45, 1.0, INF, -INF, NAN, math.copysign(NAN, -1)]
    near = [table, table.nextafter(torch.tensor(INF)), table.nextafter(torch.tensor(-INF))]
    scale = torch.cat([*near, torch.tensor(wild + more)])
    indexes = torch.empty(scale.shape, dtype=torch.uint8)
    _C.scale_index(scale.numpy(), table.numpy(), indexes.numpy(), 2, isa)
    with backend("reference"):
        assert torch.equal(indexes, scale_index(scale, table))
    below = (table[:-1, None] < scale).sum(0)
    assert torch.equal(indexes, torch.where(scale.isnan(), len(table) - 1, below).byte())


@pytest.mark.parametrize("isa", ISAS)
def test_the_usual_table_for_floats_of_every_exponent(isa):
    table = get_scale_table()
    scale = torch.arange(-(2**31), 2**31, 4093).int().view(torch.float32)
    indexes = torch.empty(scale.shape, dtype=torch.uint8)
    _C.scale_index(scale.numpy(), table.numpy(), indexes.numpy(), 1, isa)
    with backend("reference"):
        assert torch.equal(indexes, scale_index(scale, table))


@pytest.mark.parametrize("layouts", [["dense"] * 3, ["channels last"] * 3, LAYOUTS[:3]])
@pytest.mark.parametrize("isa", ISAS)
def test_threads_change_nothing(isa, layouts):
    torch.manual_seed(0)
    shape = (1, 70, 100, 101)  # enough to be shared out
    operands = [arranged(torch.randn(shape).abs() * 3, layout) for layout in layouts]
    table = get_scale_table()
    with backend("reference"):
        expected = quantize(*operands, table)
    operands = [x.numpy() for x in operands]
    for threads in (0, 1, 2, 5):
        outputs = [torch.empty(shape, dtype=x.dtype) for x in expected]
        _C.quantize(*operands, table.numpy(), *(x.numpy() for x in outputs), threads, isa)
        assert_same(outputs, expected)


def test_the_gil_is_released():
    arguments = (np.zeros(20_000_000, np.float32), get_scale_table().numpy())
    indexes = np.empty(20_000_000, np.uint8)
    state = []

    def call():
        state.append("in")
        _C.scale_index(*arguments, indexes, 1, "scalar")
        state.append("out")

    thread = threading.Thread(target=call)
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += state == ["in"]
    assert turns > 100


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_go_to_the_definition(dtype):
    torch.manual_seed(0)
    y, mean, scale = (torch.randn(2, 3, 5, 7).mul(4).to(dtype) for _ in range(3))
    scale = scale.abs().contiguous(memory_format=torch.channels_last)
    table = get_scale_table()
    symbols, indexes, y_hat = quantize(y, mean, scale, table)
    assert symbols.dtype == torch.int16
    assert torch.equal(symbols.to(dtype), (y - mean).round())
    below = (table[:-1].double() < scale.double()[..., None]).sum(-1)
    assert torch.equal(indexes, below.byte())
    assert indexes.is_contiguous()
    assert y_hat.dtype == dtype
    assert torch.equal(y_hat, symbols.to(dtype) + mean)
    assert torch.equal(dequantize(symbols, mean), y_hat)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("value", [INF, -INF, NAN, 2.0**29, -(2.0**29), 1e30])
def test_latents_out_of_all_bounds_are_refused(name, value):
    y = torch.zeros(1, 2, 5, 7)
    y[0, 1, 3, 2] = value
    one = torch.ones_like(y)
    with backend(name), pytest.raises(LatentError, match="not finite, or beyond 2\\^29"):
        quantize(y, one * 0, one, get_scale_table())


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (32767.0, torch.int16),
        (-32767.4, torch.int16),
        (-32768.0, torch.int32),
        (32768.0, torch.int32),
        (2.0**29 - 32, torch.int32),
    ],
)
def test_symbols_are_as_wide_as_they_need(name, value, dtype):
    y = torch.zeros(1, 2, 5, 7)
    y[0, 1, 3, 2] = value
    mean = torch.full_like(y, math.copysign(0.25, value) if abs(value) < 2**15 else 0.0)
    with backend(name):
        symbols, _, y_hat = quantize(y, mean, y.abs(), get_scale_table())
    assert symbols.dtype == dtype
    assert symbols[0, 1, 3, 2] == (y - mean).round()[0, 1, 3, 2]
    assert torch.equal(y_hat, (y - mean).round() + mean)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1, 1, 1), (2, 1, 3, 1, 2, 5)])
def test_any_number_of_dimensions(name, shape):
    y = torch.full(shape, 2.5)
    with backend(name):
        symbols, indexes, y_hat = quantize(y, y * 0, y, get_scale_table())
        assert torch.equal(dequantize(symbols, y * 0), y_hat)
    assert symbols.shape == indexes.shape == y_hat.shape == shape
    assert (symbols == 2).all()
    assert (indexes == 26).all()


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_operands_that_require_grad_are_detached(name):
    operands = [torch.rand(1, 2, 3, 4, requires_grad=True) for _ in range(3)]
    with backend(name):
        quantized = quantize(*operands, get_scale_table().requires_grad_())
        y_hat = dequantize(quantized.symbols, operands[1])
    assert not any(x.requires_grad for x in (*quantized, y_hat))


def test_a_table_that_changes_in_place_and_is_not_dense():
    table = torch.stack([get_scale_table(), -get_scale_table()], 1)[:, 0]
    scale = torch.tensor([0.5, 3.0, 100.0])
    before = scale_index(scale, table)
    assert torch.equal(before, scale_index(scale, get_scale_table()))
    table *= 2
    after = scale_index(scale, table)
    assert not torch.equal(after, before)
    assert torch.equal(scale_index(2 * scale, table), before)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.zeros(0), "not 0"),
        (torch.arange(257.0), "not 257"),
        (torch.tensor(1.0), "one dimension"),
        (torch.ones(2, 2), "one dimension"),
        (torch.tensor([1.0, 3.0, 2.0]), "must ascend"),
        (torch.tensor([1.0, NAN, 2.0]), "must ascend"),
    ],
)
def test_impossible_tables(name, table, message):
    one = torch.ones(3)
    with backend(name):
        with pytest.raises(ValueError, match=message):
            scale_index(one, table)
        with pytest.raises(ValueError, match=message):
            quantize(one, one, one, table)


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_operands_that_do_not_match(name):
    one, table = torch.ones(2, 3), get_scale_table()
    with backend(name):
        with pytest.raises(ValueError, match=r"one shape, not \(2, 3\), \(3,\), \(2, 3\)"):
            quantize(one, one[0], one, table)
        with pytest.raises(ValueError, match="one shape"):
            quantize(one, one, one.T, table)
        with pytest.raises(ValueError, match=r"one shape, not \(3,\), \(2, 3\)"):
            dequantize(one[0].int(), one)
        with pytest.raises(TypeError, match=r"float32, torch\.float64"):
            quantize(one, one.double(), one, table)
        with pytest.raises(TypeError, match="one floating-point type"):
            quantize(one.int(), one.int(), one.int(), table)
        with pytest.raises(TypeError, match=r"float32, torch\.float32"):
            dequantize(one, one)
        with pytest.raises(TypeError, match=r"int16, torch\.int32"):
            dequantize(one.short(), one.int())


def test_the_extension_checks_its_arrays():
    x = np.ones((2, 3), np.float32)
    table = get_scale_table().numpy()
    symbols, indexes, y_hat = np.empty((2, 3), np.int16), np.empty((2, 3), np.uint8), x.copy()

    def call(**changed):
        arguments = {"y": x, "mean": x, "scale": x, "scale_table": table, "symbols": symbols}
        arguments.update(indexes=indexes, y_hat=y_hat, threads=1)
        return _C.quantize(**{**arguments, **changed})

    assert call() == 0
    for name, dtype in [("symbols", np.int16), ("indexes", np.uint8), ("y_hat", np.float32)]:
        for shape in [(3, 2), (6,), (2, 3, 1), (2, 4)]:
            with pytest.raises(ValueError, match=f"{name} has another shape"):
                call(**{name: np.empty(shape, dtype)})
        with pytest.raises(TypeError):
            call(**{name: np.empty((2, 3), np.float64)})
        with pytest.raises(TypeError):
            call(**{name: np.empty((3, 2), dtype).T})
        locked = np.empty((2, 3), dtype)
        locked.flags.writeable = False
        with pytest.raises(ValueError, match="not writeable"):
            call(**{name: locked})
    with pytest.raises(ValueError, match="an operand has another shape"):
        call(mean=x.T)
    with pytest.raises(TypeError):
        call(y=x.astype(">f4"))
    with pytest.raises(TypeError):
        call(threads=-1)
    with pytest.raises(ValueError, match="the instruction set is 'sse'"):
        call(isa="sse")
    unaligned = np.empty(25, np.uint8)[1:].view(np.float32).reshape(2, 3)
    with pytest.raises(ValueError, match="not aligned"):
        call(scale=unaligned)
    with pytest.raises(ValueError, match="not aligned"):
        call(y=np.ones((2, 3), [("a", np.uint8), ("b", np.float32)])["b"])


def test_strides_may_be_negative():
    table = get_scale_table()
    scale = np.linspace(0, 300, 24, dtype=np.float32).reshape(4, 6)[::-1, ::-2]
    indexes = torch.empty(scale.shape, dtype=torch.uint8)
    _C.scale_index(scale, table.numpy(), indexes.numpy(), 1)
    assert torch.equal(indexes, scale_index(torch.from_numpy(scale.copy()), table))


def test_round_ste_is_exact_and_passes_the_gradient():
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, 1e7 + 0.5, 0.49999997], requires_grad=True)
    rounded = round_ste(x)
    assert torch.equal(rounded, x.detach().round())
    rounded.backward(torch.arange(6.0))
    assert torch.equal(x.grad, torch.arange(6.0))
