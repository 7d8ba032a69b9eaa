"""Norms, gates and sums of rows of channels: csrc/channels beside the definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, ops, rans
from lic_fast.ops import backend, gate, layer_norm, residual_sum
from lic_fast.ops.add_residual import reference as lrp_reference
from lic_fast.ops.gate import reference as gate_reference
from lic_fast.ops.layer_norm import reference as norm_reference
from lic_fast.ops.residual_sum import reference as sum_reference
from lic_fast.ops.rows import array, rows_of

ISAS = rans.instruction_sets()
every_isa = pytest.mark.parametrize("isa", ISAS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
shapes = given(
    rows=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 4, 8, 15, 16, 17, 31, 48, 64, 100, 192]),
    gap=st.sampled_from([0, 1, 64]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)


def operand(generator, rows, channels, gap, dtype):
    """Rows that lie `gap` numbers apart, which are NaN."""
    whole = torch.full((rows, channels + gap), float("nan"), dtype=dtype)
    part = whole[:, :channels]
    part.copy_(torch.randn(rows, channels, generator=generator) * 2 + 1)
    return part


def check(actual, expected, relative, dtype):
    """Float32 arithmetic is off by `relative` of the largest number, then rounded to the type."""
    limit = relative * max(1.0, expected.abs().max().item())
    rounding = 2.0**-8 if dtype == torch.bfloat16 else 0.0
    torch.testing.assert_close(actual.double(), expected, rtol=rounding, atol=limit)


@every_isa
@every_dtype
@settings(max_examples=40, deadline=None)
@shapes
def test_every_instruction_set_is_the_definition(isa, dtype, rows, channels, gap, threads, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y, z = (operand(generator, rows, channels, gap, dtype) for _ in range(3))
    weight, bias = torch.randn(2, channels, generator=generator)
    out = torch.full((rows, channels + gap), float("nan"), dtype=dtype)  # poisoned
    into = array(out[:, :channels])

    def result():
        assert out[:, channels:].isnan().all()
        found = out[:, :channels].clone()
        out[:, :channels] = float("nan")
        return found

    a, b, c = (array(t) for t in (x, y, z))
    wide = [t.double() for t in (x, y, z)]
    _C.layer_norm(a, weight.numpy(), bias.numpy(), into, 1e-3, threads, isa)
    expected = norm_reference(wide[0], weight.double(), bias.double(), 1e-3)
    # Half of the variance, where it is smallest, can be a sum's rounding.
    check(result(), expected, 2.0**-24 * 256, dtype)
    _C.gate(a, b, c, into, threads, isa)
    check(result(), gate_reference(*wide), 2.0**-24 * 16, dtype)
    _C.residual_sum(a, b, into, 2.0, threads, isa)
    check(result(), sum_reference(*wide[:2], 2.0), 2.0**-24 * 2, dtype)
    _C.add_residual(a, b, into, threads, isa)
    check(result(), lrp_reference(*wide[:2]), 2.0**-24 * 8, dtype)
    _C.square(a, into, threads, isa)
    check(result(), wide[0].square(), 2.0**-24, dtype)
    norm = y.abs() + 0.5
    root = norm.double().sqrt()
    for inverse, expected in ((False, wide[0] / root), (True, wide[0] * root)):
        _C.root_scaled(a, array(norm), into, inverse, threads, isa)
        check(result(), expected, 2.0**-24 * 2, dtype)


@every_isa
def test_bfloat16_is_the_float32_result_rounded(isa):
    x, y, z = torch.randn(3, 64, 37).mul(100).bfloat16()
    x[3, 4], y[5, 6], z[7, 8], y[9, 10] = 1e38, float("nan"), float("inf"), -1e30
    weight, bias = torch.randn(2, 37)

    def results(maps, out):
        arrays = [array(t) for t in maps]
        into = array(out)
        _C.layer_norm(arrays[0], weight.numpy(), bias.numpy(), into, 1e-5, 1, isa)
        yield out.clone()
        _C.gate(*arrays, into, 1, isa)
        yield out.clone()
        _C.residual_sum(*arrays[:2], into, -3.0, 1, isa)
        yield out.clone()

    narrow = results([x, y, z], torch.empty(64, 37, dtype=torch.bfloat16))
    wide = results([x.float(), y.float(), z.float()], torch.empty(64, 37))
    for a, b in zip(narrow, wide, strict=True):
        assert torch.equal(a.nan_to_num(7.0), b.bfloat16().nan_to_num(7.0))
        assert torch.equal(a.isnan(), b.isnan())


@every_isa
@every_dtype
def test_the_result_does_not_depend_on_threads(isa, dtype):
    x = torch.randn(5000, 48).to(dtype)
    weight, bias = torch.randn(2, 48)
    found = []
    for threads in (1, 3):
        out = torch.full_like(x, float("nan"))
        _C.layer_norm(array(x), weight.numpy(), bias.numpy(), array(out), 1e-5, threads, isa)
        found.append(out)
    assert torch.equal(*found)


@every_isa
def test_gates_open_and_close(isa):
    logits = torch.tensor([[-float("inf"), -200, -90, 0, 90, 200, float("inf"), float("nan")]])
    out = torch.empty(1, 8)
    ones, zeros = np.ones((1, 8), np.float32), np.zeros((1, 8), np.float32)
    _C.gate(ones, logits.numpy(), zeros, out.numpy(), 1, isa)
    torch.testing.assert_close(out, logits.sigmoid(), rtol=1e-6, atol=1e-37, equal_nan=True)


@every_dtype
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_the_operators_take_maps_of_any_strides(dtype, name):
    torch.manual_seed(0)
    whole = torch.randn(2, 40, 6, 5).to(dtype)
    last = whole.contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(2, 20)
    for both in (whole, last, whole.transpose(2, 3).contiguous().transpose(2, 3)):
        x, y = both.chunk(2, 1)
        wide = x.double(), y.double()
        with backend(name):
            gated = gate(x, y, x)
            tokens, others = (t.permute(0, 2, 3, 1) for t in (x, y))
            normed = layer_norm(tokens, weight, bias, 1e-5)
            out = torch.full_like(both, float("nan"))
            half = out.chunk(2, 1)[1].permute(0, 2, 3, 1)
            assert residual_sum(tokens, others, 2.0, out=half) is half
            assert torch.equal(residual_sum(tokens, others, 2.0), half)
        tolerance = 0.0 if dtype == torch.float32 or name == "auto" else 2.0**-6
        check(gated, gate_reference(*wide, wide[0]), 1e-6 + tolerance, dtype)
        expected = norm_reference(wide[0].permute(0, 2, 3, 1), weight.double(), bias.double(), 1e-5)
        check(normed, expected, 1e-5 + tolerance, dtype)
        expected = sum_reference(*(t.permute(0, 2, 3, 1) for t in wide), 2.0)
        check(half, expected, 1e-6 + tolerance, dtype)
        assert out.chunk(2, 1)[0].isnan().all()


def test_gradients_and_other_types_take_the_definition():
    x, y, z = (torch.randn(1, 4, 3, 2, requires_grad=True) for _ in range(3))
    weight, bias = (torch.randn(2, requires_grad=True) for _ in range(2))
    inputs = [t.detach().double().requires_grad_() for t in (x, y, z)]
    assert torch.autograd.gradcheck(gate, inputs)
    assert torch.autograd.gradcheck(residual_sum, inputs[:2])
    doubles = [inputs[0], weight.detach().double().requires_grad_(), bias.detach().double()]
    assert torch.autograd.gradcheck(lambda *args: layer_norm(*args, eps=1e-3), doubles)
    torch.autograd.grad(gate(x, y, z).sum(), [x, y, z])
    torch.autograd.grad(layer_norm(x, weight, bias).sum(), [x, weight, bias])


def test_torch_compile_sees_the_definitions():
    def work(x, weight, bias):
        return gate(layer_norm(x, weight, bias), x, residual_sum(x, x, 2.0))

    operands = torch.randn(1, 4, 3, 8), torch.randn(8), torch.randn(8)
    compiled = torch.compile(work, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*operands), work(*operands), rtol=1e-5, atol=1e-5)


def test_empty_maps():
    nothing = torch.empty(0, 4, 3, 8)
    assert layer_norm(nothing, torch.ones(8), torch.ones(8)).shape == nothing.shape
    assert gate(nothing, nothing, nothing).shape == nothing.shape
    assert residual_sum(nothing, nothing).shape == nothing.shape


def test_operands_that_do_not_fit_are_refused():
    x = torch.zeros(1, 4, 2, 2)
    with pytest.raises(ValueError, match="weight and bias must be"):
        layer_norm(x, torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="logits and skip must be"):
        gate(x, x[:, :3], x)
    with pytest.raises(ValueError, match="skip and out must be"):
        residual_sum(x, x, out=torch.zeros(1, 4, 2, 3))


def test_gates_of_several_types_are_the_definition():
    """As under autocast."""
    x = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    found = gate(x, x.bfloat16(), x)
    assert found.dtype == torch.float32
    assert torch.equal(found, gate_reference(x, x.bfloat16(), x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((4, 8), np.float64)}, "float32, or bfloat16"),
        ({"x": np.zeros((4, 8, 1), np.float32)}, r"\(rows, channels\)"),
        ({"out": np.zeros((4, 7), np.float32)}, "one shape"),
        ({"out": np.zeros((4, 8), np.uint16)}, "one type"),
        ({"x": np.zeros((8, 4), np.float32).T}, "side by side"),
        ({"out": np.broadcast_to(np.zeros(8, np.float32), (4, 8)).copy()[::-1]}, "side by side"),
        ({"weight": np.zeros(7, np.float32)}, "weight and bias"),
        ({"bias": None}, "weight and bias"),
        ({"isa": "mmx"}, "this CPU has"),
    ],
)
def test_the_extension_checks_what_it_is_given(changes, message):
    arguments = {
        "x": np.zeros((4, 8), np.float32),
        "weight": np.ones(8, np.float32),
        "bias": np.ones(8, np.float32),
        "out": np.zeros((4, 8), np.float32),
        "epsilon": 1e-5,
        "threads": 1,
    } | changes
    with pytest.raises(ValueError, match=message):
        _C.layer_norm(**arguments)


def test_rows_share_memory_where_they_can():
    both = torch.zeros(1, 3, 4, 16)
    half = both[..., 8:]
    assert rows_of(half).data_ptr() == half.data_ptr()
    assert ops.layer_norm(half, torch.ones(8), torch.zeros(8)).is_contiguous()
