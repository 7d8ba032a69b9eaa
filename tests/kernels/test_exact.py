"""The exact element-wise kernels against the definitions, bit for bit."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast.kernels import exact as kernels
from lic_fast.ops import exact
from lic_fast.ops.exact_add_residual import _launch as launch_residual
from lic_fast.ops.exact_add_residual import reference
from lic_fast.ops.integer_launch import _launch_quantize
from lic_fast.ops.integer_layer import halves
from tests.kernels.operands import DEVICE, moved
from tests.ops.test_quantize import LAYOUTS, arranged, bits

triton = pytest.importorskip("triton")
tl = triton.language


@triton.jit
def apply_kernel(x_ptr, out_ptr, count, FUNCTION: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < count, other=0.0)
    if FUNCTION == "exp":
        x = kernels.exp(x)
    elif FUNCTION == "tanh":
        x = kernels.tanh(x)
    else:
        x = kernels.activated(x, FUNCTION)
    tl.store(out_ptr + i, x, mask=i < count)


def applied(function, x):
    out = torch.full_like(x, float("nan"), device=DEVICE)
    grid = (triton.cdiv(len(x), 1024),)
    apply_kernel[grid](moved(x), out, len(x), function, 1024, **kernels.OPTIONS)
    return out.cpu()


def every_exponent():
    """Finite numbers of both signs, some hundred of each exponent; zeros and ties."""
    x = torch.arange(-(2**31), 2**31, 163861).int().view(torch.float32)
    x = torch.cat([x[x.isfinite()], torch.arange(-600, 600) / 100])
    near = torch.tensor([0.0, -0.0, 4.5, -4.5, 87.0, -87.0, 1e-45, -1e-45])
    return torch.cat([x, near, near.nextafter(torch.tensor(1e9)), near.nextafter(-near)])


def test_constants():
    assert kernels.ERF.value == exact.ERF
    assert kernels.EXP.value == exact.EXP
    ours = (kernels.LOG2_E, kernels.LN_2_HIGH, kernels.LN_2_LOW, kernels.LIMIT, kernels.LEAKY_SLOPE)
    theirs = (exact.LOG2_E, *exact.LN_2, exact.LIMIT, exact.LEAKY_SLOPE)
    assert tuple(c.value for c in ours) == theirs


# The interpreter computes with numpy, which warns of the squares of large numbers.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("function", ["none", "relu", "leaky_relu", "gelu", "exp", "tanh"])
def test_functions_of_floats_of_every_exponent(function):
    x = every_exponent()
    x = x[x <= 0] if function == "exp" else x
    expected = x if function == "none" else getattr(exact, function)(x)
    assert torch.equal(bits(applied(function, x)), bits(expected))


def assert_quantized(x, inverse_step, zero, width):
    expected = halves(exact.quantized(x, inverse_step, zero, width), width)
    out = [
        torch.full(x.shape, 255, dtype=torch.uint8, device=DEVICE).contiguous(
            memory_format=torch.channels_last
        )
        for _ in expected
    ]
    kernels.quantize(*(moved(t) for t in (x, inverse_step, zero)), out=out)
    assert all(torch.equal(a.cpu(), e) for a, e in zip(out, expected, strict=True))


@pytest.mark.parametrize("width", [7, 14])
@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (2, 37, 9, 20))),
    layout=st.sampled_from(LAYOUTS),
    spread=st.sampled_from([0.1, 1.0, 300.0]),
    seed=st.integers(0, 2**31),
)
def test_quantize_is_the_definition(width, shape, layout, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    x = arranged(torch.randn(shape, generator=generator) * spread, layout)
    inverse_step = torch.rand(shape[1], generator=generator) * 2**width / 4
    zero = torch.randint(0, 2**width, (shape[1],), generator=generator).int()
    assert_quantized(x, inverse_step, zero, width)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("width", [7, 14])
def test_quantize_rounds_ties_to_even_and_clamps_what_is_large(width):
    halfway = torch.arange(-(2**width) - 9, 2**width + 9) / 2
    near = [halfway, halfway.nextafter(torch.tensor(1e9)), halfway.nextafter(torch.tensor(-1e9))]
    edge = torch.tensor([2.0**22, 2.0**23, 2.0**24, 2.0**31, 3e38])
    edge = torch.cat([edge - 0.5, edge + 0.5, edge * 0.9999])
    values = torch.cat([*near, edge, -edge, every_exponent()])
    values = torch.nn.functional.pad(values, (0, -len(values) % 3)).view(1, -1, 1, 3)
    x = values.expand(-1, -1, 5, -1).permute(0, 2, 1, 3)
    zero = torch.tensor([0, 1, 2**width // 2, 2**width - 2, 2**width - 1]).int()
    # The interpreter takes as long for a large block.
    with mock.patch.object(kernels, "BLOCK", 1 << 15):
        assert_quantized(x, torch.ones(5), zero, width)
        assert_quantized(x, torch.tensor([0.5, 1.5, 1e-3, 3e4, 2.0**-20]), zero, width)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (2, 20, 9, 20))),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
    spread=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=st.integers(0, 2**31),
)
def test_add_residual_is_the_definition(shape, layouts, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    quantized, lrp = (
        arranged(torch.randn(shape, generator=generator) * spread, layout) for layout in layouts
    )
    out = torch.full_like(moved(quantized), float("nan"))
    kernels.add_residual(moved(quantized), moved(lrp), out=out)
    assert torch.equal(bits(out.cpu().contiguous()), bits(reference(quantized, lrp).contiguous()))


def test_the_operators_launch_for_any_strides_and_no_elements():
    x = arranged(torch.randn(2, 5, 3, 4), LAYOUTS[-1])
    step, zero = torch.rand(10)[::2] * 100, torch.arange(10).int()[::2]
    expected = halves(exact.quantized(x, step, zero, 14), 14)
    actual = _launch_quantize(moved(x), moved(step), moved(zero), 14)
    assert all(torch.equal(a.cpu(), e) for a, e in zip(actual, expected, strict=True))
    assert all(a.is_contiguous(memory_format=torch.channels_last) for a in actual)
    (none,) = _launch_quantize(moved(x[:0]), moved(step), moved(zero), 7)
    assert none.shape == (0, 5, 3, 4)
    out = launch_residual(moved(x), moved(x.flip(0))).cpu()
    assert torch.equal(bits(out.contiguous()), bits(reference(x, x.flip(0)).contiguous()))
    assert launch_residual(moved(x[:0]), moved(x[:0])).shape == (0, 5, 3, 4)


def test_no_launch_may_fuse_products_with_sums():
    x = torch.randn(1, 4, 2, 2)
    with (
        mock.patch.object(kernels, "quantize_kernel", mock.MagicMock()) as quantize,
        mock.patch.object(kernels, "add_residual_kernel", mock.MagicMock()) as residual,
    ):
        kernels.quantize(x, torch.ones(4), torch.zeros(4).int(), out=[x])
        kernels.add_residual(x, x, out=x)
    for kernel in (quantize, residual):
        (launch,) = kernel.__getitem__.return_value.call_args_list
        assert launch.kwargs["enable_fp_fusion"] is False
