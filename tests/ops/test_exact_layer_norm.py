"""The exact LayerNorm: close to torch's, and the same whatever the order of its sums."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops import exact_layer_norm
from lic_fast.ops.exact_layer_norm import LARGEST, LARGEST_COUNT, reference


def operands(channels, largest=4.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = largest * (2 * torch.rand(3, 5, channels, generator=generator) - 1)
    weight, bias = torch.randn(2, channels, generator=generator)
    inverse = torch.tensor(LARGEST / largest)
    epsilon = (1e-5 * channels**2 * inverse.double() ** 2).float()
    return x, weight, bias, inverse, epsilon


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 300), st.floats(1e-2, 1e3), st.integers(0, 99))
def test_it_is_layer_norm_up_to_the_step(channels, largest, seed):
    x, weight, bias, inverse, epsilon = operands(channels, largest, seed)
    found = exact_layer_norm(x, weight, bias, inverse, epsilon)
    expected = F.layer_norm(x.double(), (channels,), weight.double(), bias.double())
    deviation = x.double().std(-1, correction=0, keepdim=True) + 3e-3
    # Each integer is off by half a step, and so is their mean.
    bound = 3 * (1 / inverse.double()) / deviation * weight.abs().double() + 1e-5
    assert ((found - expected).abs() <= bound).all()


@pytest.mark.parametrize("isa", rans.instruction_sets())
@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 70) | st.just(LARGEST_COUNT),
    st.floats(1e-2, 1e3),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_every_instruction_set_gives_the_bits_of_the_definition(
    isa, channels, largest, threads, seed
):
    x, weight, bias, inverse, epsilon = operands(channels, largest, seed)
    # Some beyond the range of the integers.
    x[0] *= 3
    out = torch.full_like(x, float("nan"))
    flat = [tensor.view(-1, channels).numpy() for tensor in (x, out)]
    numbers = (weight.numpy(), bias.numpy(), inverse.item(), epsilon.item())
    _C.exact_layer_norm(flat[0], *numbers, flat[1], threads, isa)
    assert torch.equal(out, reference(x, weight, bias, inverse, epsilon))


def test_any_layout_is_taken():
    x, *numbers = operands(6)
    expected = reference(x, *numbers)
    assert torch.equal(exact_layer_norm(x.mT.contiguous().mT, *numbers), expected)
    assert torch.equal(exact_layer_norm(x[:, 0], *numbers), expected[:, 0])
    assert exact_layer_norm(x[:0], *numbers).shape == (0, 5, 6)
    with backend("reference"):
        assert torch.equal(exact_layer_norm(x, *numbers), expected)


def test_sums_do_not_depend_on_their_order():
    x, weight, bias, inverse, epsilon = operands(200)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    found = exact_layer_norm(x, weight, bias, inverse, epsilon)
    other = exact_layer_norm(x[..., order], weight[order], bias[order], inverse, epsilon)
    assert torch.equal(found[..., order], other)
    assert torch.equal(found[:1], exact_layer_norm(x[:1], weight, bias, inverse, epsilon))


def test_the_largest_sums_are_exact():
    count = LARGEST_COUNT
    x = torch.full((1, count), 1e9)
    x[0, : count // 2] = -1e9
    ones, zeros = torch.ones(count), torch.zeros(count)
    found = exact_layer_norm(x, ones, zeros, torch.tensor(1.0), torch.tensor(1.0))
    assert torch.equal(found, x.sign())
    # A constant has no spread, and no NaN comes of that.
    x.fill_(-1e9)
    found = exact_layer_norm(x, ones, zeros, torch.tensor(1.0), torch.tensor(1e-3))
    assert torch.equal(found, zeros[None])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(2, 3).double()}, TypeError, "float32"),
        ({"weight": torch.zeros(4)}, ValueError, r"\(C,\)"),
        ({"x": torch.zeros(())}, ValueError, "1..2048"),
        ({"x": torch.zeros(1, LARGEST_COUNT + 1)}, ValueError, "1..2048"),
    ],
)
def test_operands_that_do_not_fit_are_refused(change, error, message):
    names = ("x", "weight", "bias", "inverse_step", "epsilon")
    arguments = dict(zip(names, operands(3), strict=True)) | change
    with pytest.raises(error, match=message):
        exact_layer_norm(**arguments)
