"""The 3x3 convolution kernel against the definition in float64."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lic_fast.kernels import conv3x3 as kernels
from lic_fast.ops.conv3x3 import _launch, reference
from tests.kernels.operands import (
    CUDA,
    DEVICE,
    TYPES,
    guarded,
    guarded_like,
    guards_hold,
    unit_roundoff,
)


def operands(seed, batch, groups, inputs, outputs, sides, dtype):
    """x, weight, bias, residual."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return (
        normal(batch, groups * inputs, *sides),
        normal(groups * outputs, inputs, 3, 3) / (9 * inputs) ** 0.5,
        normal(groups * outputs),
        normal(batch, groups * outputs, *sides),
    )


def channels_last(x, make=guarded):
    """A guarded copy whose channels have stride 1, whatever its shape."""
    return make(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def error_bound(x, weight, bias, groups, residual):
    """Sums in float32, the result rounded to the type; GELU's slope is at most 1.13."""
    unit, dtype = 2.0**-24, x.dtype
    x, weight = x.double().abs(), weight.double().abs()
    total = F.conv2d(x, weight, padding=1, groups=groups)
    for more in (None if bias is None else bias[:, None, None], residual):
        total = total if more is None else total + more.double().abs()
    sums = 9 * weight.shape[1] + 16
    return 1.13 * sums * unit * total + unit_roundoff(dtype) * total


def assert_is_definition(x, weight, bias, residual, groups, activation):
    packed = guarded(kernels.pack(weight, groups))
    out = channels_last(x.new_empty(len(x), len(weight), *x.shape[2:]), guarded_like)
    kernels.conv3x3(
        channels_last(x),
        packed,
        None if bias is None else guarded(bias),
        activation,
        None if residual is None else channels_last(residual),
        out=out,
    )
    assert guards_hold(out)
    in_double = [None if t is None else t.double() for t in (x, weight, bias)]
    expected = reference(
        *in_double, groups, activation, None if residual is None else residual.double()
    )
    error = (out.double().cpu() - expected).abs()
    bound = error_bound(x, weight, bias, groups, residual)
    assert (error <= bound).all(), (error / bound).max()


@pytest.mark.parametrize("dtype", TYPES)
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2),
    groups=st.integers(1, 3),
    inputs=st.sampled_from([1, 3, 16, 32, 65]),
    outputs=st.sampled_from([1, 5, 16, 32, 40]),
    sides=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    biased=st.booleans(),
    added=st.booleans(),
    activation=st.sampled_from(["none", "gelu"]),
    processors=st.sampled_from([1, 4, 132]),
    seed=st.integers(0, 2**31),
)
def test_is_the_definition(
    dtype, batch, groups, inputs, outputs, sides, biased, added, activation, processors, seed
):
    x, weight, bias, residual = operands(seed, batch, groups, inputs, outputs, sides, dtype)
    with mock.patch.object(kernels, "multiprocessors", return_value=processors):
        assert_is_definition(
            x, weight, bias if biased else None, residual if added else None, groups, activation
        )


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("chosen", range(6))
def test_every_tile(dtype, chosen):
    tiles = kernels._TILES[dtype.itemsize]
    chosen = tiles[min(chosen, len(tiles) - 1)]
    # More than one tile, neither of them full, in each direction.
    sides = (9, chosen.pixels // 9 + 2)
    values = operands(0, 1, 2, chosen.inputs + 2, chosen.outputs + 3, sides, dtype)
    with mock.patch.object(kernels, "tile", return_value=chosen):
        assert_is_definition(*values, 2, "gelu")


def test_channels_of_a_wider_map_are_read_and_written_in_place():
    x, weight, bias, residual = operands(0, 2, 2, 6, 5, (4, 5), torch.float32)
    wide = channels_last(torch.cat([residual, x, residual], 1))
    before = wide.clone()
    read, written = wide[:, 10:22], wide[:, 22:32]
    assert read.stride(1) == written.stride(1) == 1
    kernels.conv3x3(
        read, kernels.pack(weight, 2).to(DEVICE), bias.to(DEVICE), "none", written, out=written
    )
    expected = reference(
        x.double(), weight.double(), bias.double(), 2, "none", residual.double()
    ).float()
    torch.testing.assert_close(written.cpu(), expected, rtol=0, atol=1e-5)
    assert torch.equal(wide[:, :22], before[:, :22])


def test_packed_weights():
    weight = torch.arange(4 * 3 * 9.0).view(4, 3, 3, 3)
    packed = kernels.pack(weight, 2)
    assert packed.shape == (2, 9, 3, 2)
    assert packed.is_contiguous()
    for group in range(2):
        for place in range(9):
            for i in range(3):
                for o in range(2):
                    expected = weight[2 * group + o, i, place // 3, place % 3]
                    assert packed[group, place, i, o] == expected


@given(
    pixels=st.integers(1, 2**20),
    outputs=st.integers(1, 2000),
    groups=st.integers(1, 12),
    itemsize=st.sampled_from([2, 4]),
)
def test_tiles_occupy_the_device_where_they_can(pixels, outputs, groups, itemsize):
    def programs(tile):
        return -(-pixels // tile.pixels) * -(-outputs // tile.outputs) * groups

    chosen = kernels.tile(pixels, outputs, groups, itemsize, 132)
    tiles = kernels._TILES[itemsize]
    enough = [tile for tile in tiles if programs(tile) >= 132]
    assert chosen == (enough[0] if enough else tiles[-1])


def test_the_operator_launches_for_any_strides():
    x, weight, bias, residual = operands(0, 2, 1, 6, 5, (4, 5), torch.float32)
    expected = reference(*(t.double() for t in (x, weight, bias)), 1, "gelu", residual.double())
    out = _launch(*(t.to(DEVICE) for t in (x, weight, bias)), 1, "gelu", residual.to(DEVICE))
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out.double().cpu(), expected, rtol=0, atol=1e-5)
    empty = _launch(x[:0].to(DEVICE), weight.to(DEVICE), None, 1, "none", None)
    assert empty.shape == (0, 5, 4, 5)


@pytest.mark.skipif(not CUDA, reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("groups", "inputs", "outputs", "sides"),
    [(1, 704, 224, (32, 48)), (12, 32, 224, (32, 48)), (2, 336, 1536, (16, 24))],
)
def test_the_models_shapes(dtype, groups, inputs, outputs, sides):
    values = operands(0, 1, groups, inputs, outputs, sides, dtype)
    assert_is_definition(*values, groups, "gelu")
