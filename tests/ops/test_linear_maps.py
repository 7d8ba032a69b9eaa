"""Linear maps, convolutions and GDN on oneDNN against float64, and what may not change them."""

import copy
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lic_fast import backend, ops
from lic_fast.ops import onednn, row_products, winograd
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.gdn import reference as gdn_reference
from lic_fast.ops.linear import activated
from lic_fast.ops.subpixel import is_subpixel, shuffled, subpixel_weight

ACTIVATIONS = ["none", "relu", "leaky_relu", "gelu"]
# Relative to the largest result: a hundred roundings of a sum of some hundred terms; in bfloat16,
# with 8 bits of mantissa, one of each operand and of the result.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2.0**-6}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def check(actual, expected, dtype):
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    limit = TOLERANCE[dtype] * max(1.0, expected.abs().max().item())
    assert (actual.double() - expected).abs().max().item() <= limit


def random(*shape):
    return torch.randn(shape, dtype=torch.float32)


@pytest.mark.parametrize("name", ["auto", "reference"])
@every_dtype
@settings(max_examples=20, deadline=None)
@given(
    tokens=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    widths=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    activation=st.sampled_from(ACTIVATIONS),
    bias=st.booleans(),
    skip=st.booleans(),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_linear(name, dtype, tokens, widths, activation, bias, skip, seed):
    torch.manual_seed(seed)
    n, m = widths
    x, weight = random(*tokens, n).to(dtype), random(m, n) / n**0.5
    b = random(m) if bias else None
    residual = random(*tokens, m).to(dtype) if skip else None
    with backend(name):
        out = ops.linear(x, weight, b, activation=activation, residual=residual)
    expected = F.linear(x.double(), weight.double(), b.double() if bias else None)
    expected = expected + residual.double() if skip else expected
    check(out, activated(expected, activation), dtype)


@pytest.mark.parametrize("name", ["auto", "reference"])
@every_dtype
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2),
    sides=st.tuples(st.integers(5, 12), st.integers(5, 12)),
    widths=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    groups=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    activation=st.sampled_from(ACTIVATIONS),
    skip=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_conv2d(
    name, dtype, batch, sides, widths, groups, kernel, stride, activation, skip, channels_last, seed
):
    torch.manual_seed(seed)
    n, m = (groups * width for width in widths)
    x = random(batch, n, *sides).to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight, bias = (
        random(m, n // groups, kernel, kernel) / (n // groups * kernel**2) ** 0.5,
        random(m),
    )
    form = {"stride": (stride,) * 2, "padding": (kernel // 2,) * 2, "groups": groups}
    expected = F.conv2d(x.double(), weight.double(), bias.double(), **form)
    residual = random(*expected.shape).to(dtype) if skip else None
    with backend(name):
        out = ops.conv2d(x, weight, bias, activation=activation, residual=residual, **form)
    expected = expected + residual.double() if skip else expected
    check(out, activated(expected, activation), dtype)


@pytest.mark.parametrize("name", ["auto", "reference"])
@every_dtype
@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("outputs", [3, 4, 6])
@pytest.mark.parametrize("biased", [True, False])
@torch.no_grad()
def test_conv_transpose2d(name, dtype, kernel, stride, outputs, biased):
    torch.manual_seed(0)
    x = random(2, 7, 6, 5).to(dtype)
    weight, bias = random(7, outputs, kernel, kernel) / 8, random(outputs) * biased
    form = {
        "stride": (stride,) * 2,
        "padding": (kernel // 2,) * 2,
        "output_padding": (stride - 1,) * 2,
    }
    with backend(name):
        out = ops.conv_transpose2d(x, weight, bias if biased else None, **form)
    expected = F.conv_transpose2d(x.double(), weight.double(), bias.double(), **form)
    check(out, expected, dtype)


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 7),
    stride=st.integers(2, 4),
    padding=st.integers(0, 3),
    sides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_a_transposed_convolution_is_a_subpixel_one(kernel, stride, padding, sides):
    output_padding = stride + 2 * padding - kernel
    # As torch asks.
    assume(0 <= output_padding < stride)
    assert is_subpixel(kernel, stride, padding, output_padding)
    assert not is_subpixel(kernel + 1, stride, padding, output_padding)
    # Small integers, whose sums are exact.
    x = torch.randint(-9, 10, (2, 3, *sides)).double()
    weight = torch.randint(-9, 10, (3, 2, kernel, kernel)).double()
    wide, halo = subpixel_weight(weight, stride, padding)
    y = F.conv2d(x, wide, padding=halo).permute(0, 2, 3, 1)
    form = {"stride": stride, "padding": padding, "output_padding": output_padding}
    expected = F.conv_transpose2d(x, weight, **form)
    assert torch.equal(shuffled(y, stride).permute(0, 3, 1, 2), expected)


@every_dtype
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("sides", [(3, 5), (70, 90)])
@torch.no_grad()
def test_gdn(dtype, inverse, sides):
    torch.manual_seed(0)
    x = random(2, 200, *sides).to(dtype)
    gamma, beta = torch.rand(200, 200) / 100, torch.rand(200) + 0.5
    out = ops.gdn(x, gamma, beta, inverse=inverse)
    expected = gdn_reference(x.double(), gamma.double(), beta.double(), inverse=inverse)
    check(out, expected, dtype)
    with backend("reference"):
        check(ops.gdn(x, gamma, beta, inverse=inverse), expected, dtype)


def test_an_unknown_activation_is_named():
    x = torch.zeros(1, 2)
    with backend("reference"), pytest.raises(ValueError, match="not 'swish'"):
        ops.linear(x, torch.zeros(2, 2), activation="swish")


def test_a_gradient_takes_the_definition():
    x, weight = torch.randn(3, 4), torch.randn(5, 4, requires_grad=True)
    assert not fast_on_cpu(x, weight)
    with torch.no_grad():
        assert fast_on_cpu(x, weight)
        with backend("reference"):
            assert not fast_on_cpu(x, weight)
    (grad,) = torch.autograd.grad(ops.linear(x, weight, activation="gelu").sum(), [weight])
    (expected,) = torch.autograd.grad(F.gelu(x @ weight.T).sum(), [weight])
    torch.testing.assert_close(grad, expected)
    assert not fast_on_cpu(x.half(), weight.detach())


# Prepared weights.


CHANGES = {
    "in place": lambda layer: layer.weight.detach().mul_(3),
    "through .data": lambda layer: layer.weight.data.mul_(3),
    "one element through .data": lambda layer: layer.weight.data[2, 3].add_(7),
    "by new data": lambda layer: setattr(layer.weight, "data", torch.randn(5, 4)),
    "a new parameter": lambda layer: setattr(
        layer, "weight", torch.nn.Parameter(torch.randn(5, 4))
    ),
    "load_state_dict": lambda layer: layer.load_state_dict(torch.nn.Linear(4, 5).state_dict()),
    "assigned state dict": lambda layer: layer.load_state_dict(
        torch.nn.Linear(4, 5).state_dict(), assign=True
    ),
    "bias": lambda layer: layer.bias.data.add_(1),
    "half and back": lambda layer: layer.half().float(),
    "numpy": lambda layer: layer.weight.detach().numpy().__setitem__((0, 0), 9.0),
}


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_changed_weights_are_seen(change):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(4, 5), torch.randn(6, 4)
    before = ops.linear(x, layer.weight, layer.bias)
    CHANGES[change](layer)
    after = ops.linear(x, layer.weight, layer.bias)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, layer(x))


@torch.no_grad()
def test_prepared_values_live_as_long_as_their_weights_and_are_made_once():
    weight, x, made = torch.randn(3, 4), torch.randn(2, 4), []

    def build():
        made.append(1)
        return torch.zeros(1)

    value = ops.prepared("key", [weight], build)
    assert ops.prepared("key", [weight], build) is value
    assert ops.prepared("other key", [weight], build) is not value
    assert len(made) == 2
    ops.linear(x, weight)
    gone = weakref.ref(value)
    del value, weight
    gc.collect()
    assert gone() is None


@torch.no_grad()
def test_copies_have_values_of_their_own():
    layer, x = torch.nn.Linear(4, 5), torch.randn(6, 4)
    ops.linear(x, layer.weight, layer.bias)
    other = copy.deepcopy(layer)
    other.weight.mul_(2)
    torch.testing.assert_close(ops.linear(x, other.weight, other.bias), other(x))
    torch.testing.assert_close(ops.linear(x, layer.weight, layer.bias), layer(x))


@torch.inference_mode()
def test_inference_tensors_are_followed_too():
    weight, x = torch.randn(5, 4), torch.randn(6, 4)
    ops.linear(x, weight)
    weight.mul_(2)
    torch.testing.assert_close(ops.linear(x, weight), x @ weight.T)


@torch.no_grad()
def test_bfloat16_is_computed_in_float32_where_the_cpu_has_none(monkeypatch):
    """One rounding, of the result; not the loops that PyTorch falls back to."""
    monkeypatch.setattr(onednn, "_multiplied", lambda dtype: torch.float32)
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(1, 5, 9, 10, generator=generator).bfloat16()
    weight, bias = torch.randn(7, 5, 3, 3, generator=generator) / 7, torch.randn(7)
    turned = weight.transpose(0, 1).contiguous()
    skip = torch.randn(1, 7, 5, 5, generator=generator).bfloat16()
    two, one = {"stride": (2, 2), "padding": (1, 1)}, weight[:, :, 0, 0].contiguous()
    with row_products.onednn_products(), winograd.direct_convolutions():
        found = [
            ops.conv2d(x, weight, bias, activation="gelu", residual=skip, **two),
            ops.conv_transpose2d(x, turned, bias, **two),
            ops.linear(x.permute(0, 2, 3, 1), one, bias, activation="relu"),
        ]
    wide = x.double()
    weight, turned, one, bias = (t.double() for t in (weight, turned, one, bias))
    expected = [
        F.gelu(F.conv2d(wide, weight, bias, **two) + skip),
        F.conv_transpose2d(wide, turned, bias, **two),
        F.relu(F.linear(wide.permute(0, 2, 3, 1), one, bias)),
    ]
    for actual, wanted in zip(found, expected, strict=True):
        assert actual.dtype == torch.bfloat16
        torch.testing.assert_close(actual.double(), wanted, rtol=2.0**-8, atol=1e-5)
