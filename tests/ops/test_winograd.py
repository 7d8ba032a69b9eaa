"""Convolutions by minimal filtering: csrc/winograd beside direct convolutions in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, ops, rans
from lic_fast.ops import onednn, winograd
from lic_fast.ops.linear import activated
from lic_fast.ops.rows import array

ACTIVATIONS = ["none", "relu", "leaky_relu", "gelu"]
every_isa = pytest.mark.parametrize("isa", rans.instruction_sets())
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
# The algorithm's own error for normal numbers: some hundred roundings of sums that cancel.
RELATIVE = 2e-5


def check(actual, expected, dtype, words=False):
    """Arithmetic is float32, bfloat16 only rounds its result; or see test_winograd_words."""
    rounding = 2.0**-8 if dtype == torch.bfloat16 else 0.0
    limit = (2.0**-8 if words else RELATIVE) * max(1.0, expected.abs().max().item())
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


def maps(*shape, dtype):
    return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("compact", [False, True])
@every_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "inputs", "outputs", "sides"),
    [
        (3, 1, 1, 64, 48, (17, 22)),
        (3, 1, 3, 96, 144, (16, 16)),
        (5, 1, 1, 32, 64, (16, 18)),
        (5, 2, 1, 16, 48, (32, 40)),
        (5, 2, 1, 48, 64, (34, 38)),
    ],
)
@torch.no_grad()
def test_convolutions_are_filtered_and_the_definition(
    kernel, stride, groups, inputs, outputs, sides, activation, dtype, compact
):
    if dtype == torch.bfloat16 and onednn.has_tiles():
        pytest.skip("this CPU multiplies maps of bfloat16 in tiles")
    x = maps(2, inputs, *sides, dtype=dtype)
    weight = torch.randn(outputs, inputs // groups, kernel, kernel) / (inputs * kernel**2) ** 0.5
    bias = torch.randn(outputs)
    form = {"stride": (stride, stride), "padding": (kernel // 2, kernel // 2), "groups": groups}
    assert winograd.fits(x, weight, **form)
    sides_out = (2, outputs, *(side // stride for side in sides))
    residual = maps(*sides_out, dtype=dtype)

    def convolved():
        return ops.conv2d(x, weight, bias, **form, activation=activation, residual=residual)

    if compact:
        packed = winograd.Convolution(weight, bias, (stride, stride), groups, compact=True)
        actual = packed(x, activation, residual)
    else:
        actual = convolved()
    expected = F.conv2d(x.double(), weight.double(), bias.double(), **form) + residual.double()
    words = dtype == torch.bfloat16 and not compact and _C.multiplies_words()
    check(actual, activated(expected, activation), dtype, words)
    with winograd.direct_convolutions():
        assert not winograd.fits(x, weight, **form)


@every_dtype
@pytest.mark.parametrize("outputs", [3, 16, 24, 48])
@torch.no_grad()
def test_transposed_and_sub_pixel_convolutions(outputs, dtype):
    x = maps(1, 64, 16, 18, dtype=dtype)
    bias = torch.randn(outputs)
    weight = torch.randn(64, outputs, 5, 5) / 40
    form = {"stride": (2, 2), "padding": (2, 2), "output_padding": (1, 1)}
    expected = F.conv_transpose2d(x.double(), weight.double(), bias.double(), **form)
    words = dtype == torch.bfloat16 and _C.multiplies_words()
    check(ops.conv_transpose2d(x, weight, bias, **form), expected, dtype, words)

    weight, bias = torch.randn(4 * outputs, 64, 3, 3) / 24, torch.randn(4 * outputs)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    actual = ops.subpixel_conv2d(x, weight, bias, 2, padding=(1, 1), activation="relu")
    check(actual, F.pixel_shuffle(expected.relu(), 2), dtype, words)
    with ops.backend("reference"):
        plain = ops.subpixel_conv2d(x.float(), weight, bias, 2, padding=(1, 1), activation="relu")
    check(plain, F.pixel_shuffle(expected.relu(), 2), torch.float32)


@torch.no_grad()
def test_results_do_not_depend_on_threads_nor_on_the_batch():
    maps_, weight = maps(3, 96, 37, 41, dtype=torch.float32), torch.randn(80, 96, 3, 3)
    kinds = [(False, False), (True, False)] + [(False, True)] * _C.multiplies_words()
    for compact, words in kinds:
        x = maps_.bfloat16() if words else maps_
        convolution = winograd.Convolution(weight, None, compact=compact, words=words)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            expected = convolution(x)
            torch.set_num_threads(3)
            assert torch.equal(convolution(x), expected)
        finally:
            torch.set_num_threads(threads)
        for i in range(3):
            assert torch.equal(convolution(x[i : i + 1]), expected[i : i + 1])


@torch.no_grad()
def test_weights_follow_changes():
    x, weight = maps(1, 32, 16, 16, dtype=torch.float32), torch.randn(32, 32, 3, 3)
    assert winograd.fits(x, weight, (1, 1), (1, 1))
    ops.conv2d(x, weight, padding=(1, 1))
    weight.data.mul_(2)
    expected = F.conv2d(x.double(), weight.double(), padding=1)
    check(ops.conv2d(x, weight, padding=(1, 1)), expected, torch.float32)


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
