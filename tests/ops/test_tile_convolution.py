"""Convolutions by tiles of AMX: csrc/tiles beside the definition in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, rans
from tests.ops.arrays import ACTIVATIONS, activated, array

with_tiles = pytest.mark.skipif(
    "amx" not in rans.instruction_sets(), reason="this CPU has no tiles of AMX"
)
# Of sums of some thousand products in float32, for normal numbers.
ABSOLUTE = 2e-5


def check(actual, expected):
    """Products and sums are float32, and only the result is rounded to bfloat16."""
    limit = ABSOLUTE * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual.double(), expected, rtol=2.0**-8, atol=limit)


def poisoned(shape, gap):
    """(B, H, W, C) whose pixels lie `gap` numbers apart."""
    *sides, channels = shape
    full = torch.full((*sides, channels + gap), float("nan"), dtype=torch.bfloat16)
    return full[..., :channels]


def definition(x, weight, bias, stride=1, shuffle=1):
    """(B, H, W, N) to (B, r * H', r * W', M) in float64, from channels (r, r, M)."""
    moved = x.double().permute(0, 3, 1, 2)
    side = weight.shape[2] // 2
    out = F.conv2d(moved, weight.double(), bias.double(), stride=stride, padding=side)
    out = out.unflatten(1, (shuffle, shuffle, -1))  # B, r, r, M, H', W'
    return out.permute(0, 4, 1, 5, 2, 3).flatten(3, 4).flatten(1, 2)


def rounded(weight):
    return weight.bfloat16().float()


@with_tiles
@settings(max_examples=300, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    shuffle=st.integers(1, 2),
    batch=st.integers(1, 2),
    height=st.integers(1, 20),
    width=st.integers(1, 90),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 50),
    activation=st.sampled_from(ACTIVATIONS),
    residual=st.booleans(),
    gap=st.sampled_from([0, 3]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_it_is_the_definition(
    kernel,
    stride,
    shuffle,
    batch,
    height,
    width,
    inputs,
    outputs,
    activation,
    residual,
    gap,
    threads,
    seed,
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    x = poisoned((batch, height, width, inputs), gap)
    x.copy_(normal(*x.shape))
    every = outputs * shuffle**2
    weight = rounded(normal(every, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5)
    bias = normal(every)
    expected = definition(x, weight, bias, stride, shuffle)
    out = poisoned(expected.shape, gap)
    skip = poisoned(out.shape, 1).copy_(normal(*out.shape)) if residual else None
    _C.TileConvolution(weight.numpy(), bias.numpy()).run(
        array(x),
        array(out),
        residual=None if skip is None else array(skip),
        activation=activation,
        stride=stride,
        shuffle=shuffle,
        threads=threads,
    )
    if skip is not None:
        expected = expected + skip.double()
    check(out, activated(expected, activation))


@with_tiles
@settings(max_examples=60, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    inputs=st.integers(1, 70),
    value=st.sampled_from([float("nan"), float("inf")]),
    seed=st.integers(0, 2**31),
)
def test_what_is_not_finite_stays_with_the_outputs_that_see_it(kernel, stride, inputs, value, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 9, 37, inputs, generator=generator).bfloat16()
    row, column, channel = (
        int(torch.randint(size, (), generator=generator)) for size in x.shape[1:]
    )
    weight = rounded(torch.randn(20, inputs, kernel, kernel, generator=generator))
    bias = torch.randn(20, generator=generator)
    packed = _C.TileConvolution(weight.numpy(), bias.numpy())
    x[0, row, column, channel] = value
    expected = definition(x, weight, bias, stride)
    out = torch.empty(expected.shape, dtype=torch.bfloat16)
    packed.run(array(x), array(out), stride=stride)
    finite = expected.isfinite()
    assert torch.equal(out.isfinite(), finite)
    torch.testing.assert_close(out.double()[finite], expected[finite], rtol=2.0**-8, atol=1e-3)


@with_tiles
def test_weights_of_zero_leave_the_bias():
    packed = _C.TileConvolution(np.zeros((20, 16, 3, 3), np.float32), np.arange(20, dtype="f4"))
    out = np.empty((1, 4, 4, 20), np.uint16)
    packed.run(np.zeros((1, 4, 4, 16), np.uint16), out)
    found = torch.from_numpy(out).view(torch.bfloat16)
    assert torch.equal(found.float(), torch.arange(20.0).expand(1, 4, 4, 20))


def test_bad_arguments_are_refused():
    floats = np.zeros((16, 16, 3, 3), np.float32), np.zeros(16, np.float32)
    for weight, bias in (
        (np.zeros((16, 16, 4, 4), np.float32), floats[1]),
        (np.zeros((16, 16, 3, 5), np.float32), floats[1]),
        (np.zeros((16, 16, 3), np.float32), floats[1]),
        (np.zeros((0, 16, 3, 3), np.float32), floats[1][:0]),
        (floats[0], floats[1][:8]),
    ):
        with pytest.raises(ValueError, match=r"weights must|bias must"):
            _C.TileConvolution(weight, bias)
    packed = _C.TileConvolution(*floats)
    x, out = np.zeros((1, 4, 4, 16), np.uint16), np.zeros((1, 4, 4, 16), np.uint16)
    for arguments, options, message in (
        ((x[..., :8], out), {}, "other channels"),
        ((x[0], out), {}, "maps must be"),
        ((x, out[:, :3]), {}, "another shape"),
        ((x.astype(np.float32), out), {}, "bfloat16"),
        ((x, out.astype(np.float32)), {}, "maps must be"),
        ((np.zeros((1, 16, 4, 4), np.uint16).transpose(0, 2, 3, 1), out), {}, "side by side"),
        ((x, out), {"residual": out[:, :3]}, "another shape"),
        ((x, out), {"activation": "swish"}, "activation must be"),
        ((x, out), {"stride": 0}, "stride and shuffle"),
        ((x, out), {"stride": 2}, "another shape"),
        ((x, out), {"shuffle": 17}, "stride and shuffle"),
        ((x, out), {"shuffle": 3}, "shuffle x shuffle"),
    ):
        with pytest.raises(ValueError, match=message):
            packed.run(*arguments, **options)
    if "amx" not in rans.instruction_sets():
        with pytest.raises(ValueError, match="no tiles"):
            packed.run(x, out)
