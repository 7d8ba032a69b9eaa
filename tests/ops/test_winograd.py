"""Convolutions by minimal filtering: csrc/winograd beside direct convolutions in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, rans
from tests.ops.arrays import ACTIVATIONS, activated, array

every_isa = pytest.mark.parametrize("isa", rans.instruction_sets())
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
# The algorithm's own error for normal numbers: some hundred roundings of sums that cancel.
RELATIVE = 2e-5


def check(actual, expected, dtype):
    """Arithmetic is float32, bfloat16 only rounds its result."""
    rounding = 2.0**-8 if dtype == torch.bfloat16 else 0.0
    limit = RELATIVE * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual.double(), expected, rtol=rounding, atol=limit)


def poisoned(shape, gap, dtype):
    """(B, H, W, C) whose pixels lie `gap` numbers apart."""
    *sides, channels = shape
    return torch.full((*sides, channels + gap), float("nan"), dtype=dtype)[..., :channels]


@every_isa
@every_dtype
@settings(max_examples=25, deadline=None)
@given(
    kernel=st.sampled_from([3, 5]),
    batch=st.integers(1, 2),
    height=st.integers(1, 21),
    width=st.integers(1, 21),
    inputs=st.sampled_from([16, 48, 64]),
    outputs=st.sampled_from([1, 12, 16, 33, 64, 80]),
    transformed=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    residual=st.booleans(),
    gap=st.sampled_from([0, 3]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_every_instruction_set_is_the_definition(
    isa,
    dtype,
    kernel,
    batch,
    height,
    width,
    inputs,
    outputs,
    transformed,
    activation,
    residual,
    gap,
    threads,
    seed,
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    x = poisoned((batch, height, width, inputs), gap, dtype).copy_(
        normal(batch, height, width, inputs)
    )
    weight = normal(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
    bias = normal(outputs)
    out = poisoned((batch, height, width, outputs), gap, dtype)
    skip = poisoned(out.shape, 1, dtype).copy_(normal(*out.shape)) if residual else None
    packed = _C.Winograd(weight.numpy(), transformed, threads)
    packed.run(
        array(x),
        bias.numpy(),
        array(out),
        residual=None if skip is None else array(skip),
        activation=activation,
        threads=threads,
        isa=isa,
    )
    moved = x.double().permute(0, 3, 1, 2)
    expected = F.conv2d(moved, weight.double(), bias.double(), padding=kernel // 2)
    if skip is not None:
        expected = expected + skip.double().permute(0, 3, 1, 2)
    check(out.permute(0, 3, 1, 2), activated(expected, activation), dtype)


def test_infinities_and_nans_stay_what_they_are_behind_a_gelu():
    weight = np.zeros((16, 16, 3, 3), np.float32)
    out = np.empty((1, 4, 4, 16), np.float32)
    bias = np.array([np.inf, -np.inf, np.nan, 1e30, -1e30] + [0] * 11, np.float32)
    packed = _C.Winograd(weight, True, 1)
    packed.run(np.ones((1, 4, 4, 16), np.float32), bias, out, activation="gelu")
    expected = F.gelu(torch.from_numpy(bias).double())
    torch.testing.assert_close(
        torch.from_numpy(out[0, 0, 0, :2]).double(),
        torch.stack([expected[0], torch.zeros((), dtype=torch.float64)]),
        atol=1e-6,
        rtol=0,
    )
    for activation in ACTIVATIONS:
        found = np.zeros_like(out)
        packed.run(np.ones((1, 4, 4, 16), np.float32), bias, found, activation=activation)
        assert np.isnan(found[0, 0, 0, 2])
    assert out[0, 0, 0, 3] == np.float32(1e30)
    assert abs(out[0, 0, 0, 4]) < 1e-6


def test_bad_arguments_are_refused():
    weight = np.zeros((16, 16, 3, 3), np.float32)
    for shape in ((16, 16, 4, 4), (16, 16, 3, 5), (16, 15, 3, 3), (0, 16, 3, 3), (16, 16, 3)):
        with pytest.raises(ValueError, match=r"weights must|inputs must"):
            _C.Winograd(np.zeros(shape, np.float32), True, 1)
    packed = _C.Winograd(weight, True, 1)
    x, bias = np.zeros((1, 4, 4, 16), np.float32), np.zeros(16, np.float32)
    out = np.zeros((1, 4, 4, 16), np.float32)
    for arguments, message in (
        ((x[..., :8], bias, out), "other channels"),
        ((x[0], bias, out), "maps must be"),
        ((x, bias[:8], out), "bias must be"),
        ((x, bias, out[:, :3]), "another shape"),
        ((x.astype(np.float64), bias, out), "float32, or bfloat16"),
        ((x.transpose(0, 3, 1, 2)[..., :16], bias, out), "side by side"),
    ):
        with pytest.raises(ValueError, match=message):
            packed.run(*arguments)
    with pytest.raises(ValueError, match="activation must be"):
        packed.run(x, bias, out, activation="swish")
    with pytest.raises(ValueError, match="multiples of the phases"):
        packed.run(x, bias, out, phases=3)
    with pytest.raises(ValueError, match="shuffle x shuffle"):
        packed.run(x, bias, out, shuffle=3)
    with pytest.raises(ValueError, match="another shape"):
        packed.run(x, bias, out, residual=out[:, :3])
