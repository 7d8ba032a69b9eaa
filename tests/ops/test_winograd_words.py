"""Convolutions by minimal filtering in words of 16 bits, for maps of bfloat16."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, rans
from tests.ops.arrays import ACTIVATIONS, activated, array

# Words of 12 bits and more lose less than the 8 bits of the maps themselves, sums that cancel
# included: of the largest result two roundings of a bfloat16, one of them the result's own.
RELATIVE = 2.0**-8

WITH_WORDS = [isa for isa in rans.instruction_sets() if isa in ("avx2", "avx512vnni")]
needed = pytest.mark.skipif(not WITH_WORDS, reason="no products of words on this CPU")
each_isa = pytest.mark.parametrize("isa", WITH_WORDS)


def convolved(isa, x, weight, bias, activation="none", residual=None, threads=1):
    """(B, H, W, N) to (B, H, W, M), of bfloat16."""
    out = torch.full((*x.shape[:3], len(weight)), float("nan"), dtype=torch.bfloat16)
    packed = _C.Winograd(weight.numpy(), True, threads, words=True)
    packed.run(
        array(x),
        bias.numpy(),
        array(out),
        residual=None if residual is None else array(residual),
        activation=activation,
        threads=threads,
        isa=isa,
    )
    return out


def definition(x, weight, bias):
    out = F.conv2d(
        x.double().permute(0, 3, 1, 2),
        weight.double(),
        bias.double(),
        padding=weight.shape[2] // 2,
    )
    return out.permute(0, 2, 3, 1)


def check(actual, expected, size=1.0):
    """Of results of which an ordinary map has some as large as `size`."""
    limit = RELATIVE * max(size, expected.abs().max().item())
    torch.testing.assert_close(actual.double(), expected, rtol=2.0**-8, atol=limit)


@each_isa
@settings(max_examples=40, deadline=None)
@given(
    kernel=st.sampled_from([3, 5]),
    batch=st.integers(1, 2),
    height=st.integers(1, 21),
    width=st.integers(1, 21),
    inputs=st.sampled_from([16, 48, 384, 400, 800]),
    outputs=st.sampled_from([1, 12, 16, 33, 64, 80]),
    activation=st.sampled_from(ACTIVATIONS),
    residual=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_is_the_definition_but_for_a_rounding(
    isa, kernel, batch, height, width, inputs, outputs, activation, residual, threads, seed
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    x = normal(batch, height, width, inputs).bfloat16()
    weight = normal(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
    bias = normal(outputs)
    skip = normal(batch, height, width, outputs).bfloat16() if residual else None
    found = convolved(isa, x, weight, bias, activation, skip, threads)
    expected = definition(x, weight, bias)
    expected = expected if skip is None else expected + skip.double()
    # Sums have a deviation of one and more, of which a small map may have only the least.
    check(found, activated(expected, activation), size=3.0)


@each_isa
@pytest.mark.parametrize("inputs", [16, 384, 1024])
@pytest.mark.parametrize("sign", [1, -1])
def test_no_sum_overflows(isa, inputs, sign):
    """All of one size and sign, as no other weights and inputs add up to more."""
    x = torch.full((1, 9, 9, inputs), 3.0).bfloat16()
    weight, bias = torch.full((16, inputs, 3, 3), sign / inputs), torch.zeros(16)
    check(convolved(isa, x, weight, bias), definition(x, weight, bias))
    # And such as are large where the transform alternates.
    for place in range(2):
        x[:, place::2, place::2] *= -1
        check(convolved(isa, x, weight, bias), definition(x, weight, bias))


@each_isa
@pytest.mark.parametrize("size", [1e-38, 1e-20, 1.0, 1e20, 1e30])
def test_any_size_of_numbers(isa, size):
    generator = torch.Generator().manual_seed(1)
    x = (torch.randn(1, 8, 8, 32, generator=generator) * size).bfloat16()
    weight, bias = torch.randn(16, 32, 3, 3, generator=generator) / 16, torch.zeros(16)
    expected = definition(x, weight, bias)
    found = convolved(isa, x, weight, bias).double()
    assert (found - expected).abs().max() <= 2 * RELATIVE * expected.abs().max() + 1e-37
    # Tiles do not share a scale.
    x[:, :, 4:] /= 1e3
    far = slice(5, 8)
    expected = definition(x, weight, bias)[:, :, far]
    found = convolved(isa, x, weight, bias)[:, :, far].double()
    limit = 2 * RELATIVE * x.double()[:, :, 3:].abs().max() + 1e-37
    assert (found - expected).abs().max() <= limit


@each_isa
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_not_hidden(isa, value):
    x = torch.ones(1, 16, 16, 16).bfloat16()
    weight, bias = torch.full((16, 16, 3, 3), 0.1), torch.zeros(16)
    expected = convolved(isa, x, weight, bias)
    x[0, 2, 2, 5] = value
    found = convolved(isa, x, weight, bias)
    assert not found[0, 1:4, 1:4].isfinite().any()
    assert torch.equal(found[0, 8:, 8:], expected[0, 8:, 8:])
    weight[3, 4, 1, 1] = value
    found = convolved(isa, torch.ones_like(x), weight, bias)
    assert not found[..., 3].isfinite().any()
    assert found[..., 4].isfinite().all()
    weight[3] = 0
    assert (convolved(isa, torch.ones_like(x), weight, bias)[..., 3] == 0).all()


@needed
def test_only_the_instruction_set_that_has_them():
    weight, bias = np.ones((16, 16, 3, 3), np.float32), np.zeros(16, np.float32)
    packed = _C.Winograd(weight, True, 1, words=True)
    x = np.zeros((1, 4, 4, 16), np.uint16)
    with pytest.raises(ValueError, match="avx512vnni"):
        packed.run(x, bias, np.zeros_like(x), isa="scalar")
    with pytest.raises(ValueError, match="transformed weights"):
        _C.Winograd(weight, False, 1, words=True)
    with pytest.raises(ValueError, match="bfloat16"):
        packed.run(np.zeros(x.shape, np.float32), bias, np.zeros(x.shape, np.float32))
