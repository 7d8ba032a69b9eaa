"""Modules of an integer entropy path beside those in floating point."""

import pytest
import torch
import torch.nn.functional as F
from compressai.layers import GDN
from torch import nn

from lic_fast.entropy.integer.conv import IntegerConv2d, IntegerLinear
from lic_fast.entropy.integer.norm import ExactGDN, ExactLayerNorm
from lic_fast.entropy.integer.observed import Observed
from lic_fast.entropy.integer.quantizer import quantizer_of
from lic_fast.entropy.integer.rounding import nearest, round_weights


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def relative(found, expected):
    return ((found - expected).std() / expected.std()).item()


@pytest.mark.parametrize(("bits", "halves", "bound"), [(7, 1, 0.03), (14, 1, 0.03), (14, 2, 0.02)])
@pytest.mark.parametrize("kernel", [1, 3])
@torch.no_grad()
def test_an_integer_convolution_is_almost_the_convolution(bits, halves, bound, kernel):
    conv = nn.Conv2d(12, 20, kernel, padding=kernel // 2)
    # Channels whose ranges differ by orders of magnitude, some on one side of zero.
    x = torch.randn(2, 12, 9, 11) * 10 ** torch.linspace(-2, 2, 12).view(-1, 1, 1)
    x[:, ::3] = x[:, ::3].abs()
    exact = IntegerConv2d.like(conv)
    exact.fill(conv.weight, conv.bias, quantizer_of(Observed.of(x), bits), halves)
    exact.check()
    assert relative(exact(x), conv(x)) < bound
    expected = F.gelu(conv(x))
    assert relative(exact(x, "gelu"), expected) < bound
    skip = torch.randn(2, 20, 9, 11)
    assert torch.equal(exact(x, residual=skip), exact(x) + skip)


@torch.no_grad()
def test_an_integer_linear_map_is_almost_the_map():
    linear = nn.Linear(12, 8)
    x, skip = torch.randn(2, 3, 5, 12), torch.randn(2, 3, 5, 8)
    exact = IntegerLinear.like(linear)
    exact.fill(linear.weight, linear.bias, quantizer_of(Observed.of(x, -1), 14), 2)
    assert relative(exact(x), linear(x)) < 0.01
    assert torch.equal(exact(x, "gelu", skip), exact(x, "gelu", skip.clone()))
    assert relative(exact(x, residual=skip), linear(x) + skip) < 0.01


@torch.no_grad()
def test_sums_that_would_overflow_get_coarser_weights():
    conv = nn.Conv2d(900, 2, 3, padding=1)
    nn.init.constant_(conv.weight, 1.0)
    x = torch.rand(1, 900, 4, 4)
    exact = IntegerConv2d.like(conv)
    exact.fill(conv.weight, conv.bias, quantizer_of(Observed.of(x), 14), 2)
    assert 2**30 < exact.largest_sum() < 2**31
    assert int(exact.weight.max()) < 127
    assert relative(exact(x), conv(x)) < 0.02
    exact.weight.fill_(127)
    with pytest.raises(ValueError, match="32 bits do not hold"):
        exact.check()


@torch.no_grad()
def test_biases_make_up_for_the_mean_that_rounding_moves():
    conv = nn.Conv2d(16, 8, 3, padding=1)
    x = torch.rand(4, 16, 30, 30) + 1
    seen = Observed.of(x)
    plain, corrected = IntegerConv2d.like(conv), IntegerConv2d.like(conv)
    for exact, mean in ((plain, None), (corrected, seen.mean)):
        exact.fill(conv.weight, conv.bias, quantizer_of(seen, 14), 2, mean)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    off = [(exact(x) - conv(x))[inside].mean((0, 2, 3)).abs().max() for exact in (plain, corrected)]
    assert off[1] < 0.1 * off[0]


def test_convolutions_that_have_no_twin_are_refused():
    for conv in (nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, 2)):
        with pytest.raises(ValueError, match="no integer layer"):
            IntegerConv2d.like(conv)


def test_rounding_with_covariances_beats_rounding_to_nearest():
    mix = torch.randn(24, 24) * torch.linspace(0.1, 3, 24)
    x = torch.randn(500, 24) @ mix
    weight = torch.randn(6, 24).double()
    scale = weight.abs().amax(1) / 12
    covariance = torch.cov(x.T)
    errors = []
    for rounded in (round_weights(weight, scale, covariance), nearest(weight, scale)):
        assert rounded.abs().max() <= 127
        assert torch.equal(rounded, rounded.round())
        errors.append((x.double() @ (weight - rounded * scale[:, None]).T).square().mean())
    assert errors[0] < 0.7 * errors[1]


@torch.no_grad()
def test_an_exact_layer_norm_is_almost_the_norm():
    norm = nn.LayerNorm(24)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 3 * torch.randn(2, 5, 7, 24) + 1
    exact = ExactLayerNorm(24)
    exact.fill(norm, Observed.of(x, -1))
    exact.check()
    assert relative(exact(x), norm(x)) < 1e-3
    exact.weight[3] = float("inf")
    with pytest.raises(ValueError, match="finite"):
        exact.check()


@pytest.mark.parametrize("inverse", [False, True])
@torch.no_grad()
def test_an_exact_gdn_is_almost_the_gdn(inverse):
    gdn = GDN(10, inverse=inverse)
    gdn.gamma += 0.02 * torch.rand(10, 10)
    x = torch.randn(2, 10, 6, 7) * torch.linspace(0.5, 4, 10).view(-1, 1, 1)
    exact = ExactGDN(10, inverse)
    exact.fill(gdn, Observed.of(x))
    assert relative(exact(x), gdn(x)) < 0.01
    assert exact(1e6 * x).isfinite().all()


def test_what_was_seen_adds_up():
    x = torch.randn(4, 3, 5, 6)
    whole, parts = Observed.of(x), Observed.of(x[:1]) + Observed.of(x[1:])
    for field in ("low", "high", "mean", "square"):
        torch.testing.assert_close(getattr(parts, field), getattr(whole, field))
    assert parts.count == whole.count == 4 * 5 * 6
    assert torch.equal(whole[1:].low, whole.low[1:])
    assert torch.equal(Observed.of(x.permute(0, 2, 3, 1), -1).high, whole.high)


@torch.no_grad()
def test_a_range_of_9_bits_leaves_room_above():
    x = torch.randn(2, 12, 9, 11) * 10 ** torch.linspace(-2, 2, 12).view(-1, 1, 1)
    x[:, ::3] = x[:, ::3].abs()
    quantizer = quantizer_of(Observed.of(x), 14, 9)
    assert quantizer.bits == 14
    for times, most in ((1, 511), (8, 16383)):
        high, low = (half.int() for half in quantizer(times * x))
        values = 128 * high + low
        assert values.max() > most // 8
        assert values.max() <= most
        # Nothing above the range is cut off.
        found = (values - quantizer.zero.view(-1, 1, 1)) / quantizer.inverse_step.view(-1, 1, 1)
        step = (1 / quantizer.inverse_step).view(-1, 1, 1)
        above = x > 0
        assert ((found - times * x).abs() <= 0.51 * step)[above].all()


def test_the_border_follows_the_bits_of_a_loaded_state_dict():
    """The same zeros stand for other activations when they have 14 bits."""
    layer = IntegerConv2d(3, 2, 3)
    layer.zero.copy_(torch.tensor([5, 64, 127]))
    assert [half.tolist() for half in layer.border] == [[5, 64, 127]]
    state = {**layer.state_dict(), "precision": torch.tensor([14, 2], dtype=torch.uint8)}
    layer.load_state_dict(state)
    assert [half.tolist() for half in layer.border] == [[0, 0, 0], [5, 64, 127]]
