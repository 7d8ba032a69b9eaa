"""The feed-forward kernels against the definition in float64."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast.kernels import feed_forward as kernels
from lic_fast.ops.feed_forward import _launch, reference
from tests.kernels.operands import (
    CUDA,
    DEVICE,
    TYPES,
    guarded,
    guarded_like,
    guards_hold,
    unit_roundoff,
)

EPS = 1e-5

# The interpreter computes with numpy, which warns of what is not finite.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")


def operands(generator, tokens, channels, hidden, dtype):
    """Parameters that keep magnitudes near 1, and x with offset tokens, large and tiny ones.

    The variance of the tiny ones is of the order of epsilon.
    """

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    values = (
        (normal(tokens, channels) + normal(tokens, 1)) * 0.003 ** normal(tokens, 1).sigmoid() * 3,
        1 + 0.3 * normal(channels),
        0.3 * normal(channels),
        normal(hidden, channels) / channels**0.5,
        normal(hidden),
        normal(channels, hidden) / hidden**0.5,
        normal(channels),
    )
    return [x.to(dtype) for x in values]


def error_bound(x, norm_weight, norm_bias, weight1, bias1, weight2, bias2):
    """Of each element of the output: float32 inside, what enters a product rounded to the type."""
    dtype, channels = x.dtype, x.shape[-1]
    x, norm_weight, norm_bias, weight1, bias1, weight2, bias2 = (
        t.double() for t in (x, norm_weight, norm_bias, weight1, bias1, weight2, bias2)
    )
    single, unit = 2.0**-24, unit_roundoff(dtype)
    centred = (x - x.mean(-1, keepdim=True)).abs()
    deviation = ((centred**2).mean(-1, keepdim=True) + EPS).sqrt()
    normed = centred / deviation * norm_weight.abs() + norm_bias.abs()
    # The mean is off by C roundings of the largest x; the square root and the quotient are
    # approximate, to a few units.
    off_mean = channels * x.abs().amax(-1, keepdim=True) / deviation * norm_weight.abs()
    off_normed = unit * normed + single * (off_mean + (channels + 16) * normed)
    hidden = normed @ weight1.abs().T + bias1.abs()
    off_hidden = off_normed @ weight1.abs().T + (channels + 16) * single * hidden
    # GELU's slope is at most 1.13, and |gelu(x)| <= |x|.
    off_hidden = 1.13 * off_hidden + (unit + 16 * single) * hidden
    out = hidden @ weight2.abs().T + bias2.abs() + x.abs()
    off_out = off_hidden @ weight2.abs().T + (len(weight1) + 4) * single * out
    return off_out + unit * out


def assert_is_definition(given_operands):
    on_device = [guarded(t) for t in given_operands]
    x = on_device[0]
    out = kernels.feed_forward(*on_device, EPS, out=guarded_like(x))
    assert guards_hold(out)
    expected = reference(*(t.double() for t in given_operands), EPS)
    error = (out.double().cpu() - expected).abs()
    bound = error_bound(*given_operands)
    assert (error <= bound).all(), (error / bound).max()


@pytest.mark.parametrize("dtype", TYPES)
@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(1, 70),
    channels=st.sampled_from([1, 3, 16, 48, 63, 64, 65, 96, 128]),
    hidden=st.sampled_from([1, 15, 32, 33, 64, 100, 192]),
    processors=st.sampled_from([1, 132]),
    seed=st.integers(0, 2**31),
)
def test_is_the_definition(dtype, tokens, channels, hidden, processors, seed):
    generator = torch.Generator().manual_seed(seed)
    with mock.patch.object(kernels, "multiprocessors", return_value=processors):
        assert_is_definition(operands(generator, tokens, channels, hidden, dtype))


# In halves, and fused for all the channels that the registers hold.
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("tokens", "channels"), [(20, 192), (67, 256), (33, 257), (3, 384)])
@pytest.mark.parametrize("processors", [1, 132])
def test_wide_tokens(dtype, tokens, channels, processors):
    generator = torch.Generator().manual_seed(tokens)
    with mock.patch.object(kernels, "multiprocessors", return_value=processors):
        assert_is_definition(operands(generator, tokens, channels, 40, dtype))


@pytest.mark.parametrize("channels", [48, 264])
def test_the_output_may_be_the_input(channels):
    values = operands(torch.Generator().manual_seed(0), 37, channels, 72, torch.float32)
    on_device = [t.to(DEVICE) for t in values]
    expected = kernels.feed_forward(*on_device, EPS, out=torch.empty_like(on_device[0]))
    assert torch.equal(kernels.feed_forward(*on_device, EPS, out=on_device[0]), expected)


def test_a_token_that_is_not_finite_spoils_itself_only():
    values = operands(torch.Generator().manual_seed(0), 40, 48, 96, torch.float32)
    on_device = [t.to(DEVICE) for t in values]
    expected = kernels.feed_forward(*on_device, EPS, out=torch.empty_like(on_device[0]))
    on_device[0][7, 3] = float("inf")
    actual = kernels.feed_forward(*on_device, EPS, out=torch.empty_like(on_device[0]))
    assert actual[7].isnan().all()
    others = torch.arange(40, device=DEVICE) != 7
    assert torch.equal(actual[others], expected[others])


def test_the_operator_launches_for_any_shape_and_stride():
    values = operands(torch.Generator().manual_seed(0), 24, 20, 30, torch.float32)
    x = values[0].view(2, 3, 4, 20)
    expected = reference(*(t.double() for t in (x, *values[1:])), EPS)
    across = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    weights = [t.T.contiguous().T if t.dim() == 2 else t for t in values[1:]]
    out = _launch(*(t.to(DEVICE) for t in (across, *weights)), EPS)
    assert out.is_contiguous()
    torch.testing.assert_close(out.double().cpu(), expected, rtol=0, atol=1e-4)
    empty = _launch(*(t.to(DEVICE) for t in (x[:, :0], *values[1:])), EPS)
    assert empty.shape == (2, 0, 4, 20)


@pytest.mark.skipif(not CUDA, reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("channels", "tokens"), [(48, 98304), (192, 6144), (384, 1536)])
def test_the_models_shapes(dtype, channels, tokens):
    generator = torch.Generator().manual_seed(0)
    assert_is_definition(operands(generator, tokens, channels, 4 * channels, dtype))
