"""Ranges of rows: kernels that compute some rows of their output, to the bits of the whole call.

Rows of the input that the range does not need are NaN, and rows of the output that are not of the
range must stay as they were.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, rans
from lic_fast.ops import onednn
from lic_fast.ops.rows import array

every_isa = pytest.mark.parametrize("isa", rans.instruction_sets())
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
SENTINEL = 77.0


def only(x, begin, end):
    """x, (B, H, W, C), with NaN in all rows but begin to end - 1."""
    some = torch.full_like(x, float("nan"))
    some[:, max(begin, 0) : end] = x[:, max(begin, 0) : end]
    return some


def check_rows(found, whole, begin, end):
    """Rows begin to end - 1 are those of the whole call, the others untouched."""
    expected = torch.full_like(whole, SENTINEL)
    expected[:, begin:end] = whole[:, begin:end]
    assert torch.equal(found, expected)


def boundaries(data, height, step):
    """Some rows between which there are whole tiles, from 0 to height."""
    inner = st.sets(st.integers(0, (height - 1) // step), max_size=4)
    return sorted({0, height} | {step * i for i in data.draw(inner)})


@every_isa
@every_dtype
@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    kernel=st.sampled_from([3, 5]),
    height=st.integers(1, 23),
    width=st.integers(1, 17),
    phases=st.integers(1, 2),
    shuffle=st.integers(1, 2),
    outputs=st.sampled_from([16, 48]),
    kind=st.sampled_from(["transformed", "compact", "int16"]),
    residual=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_winograd(
    isa,
    dtype,
    data,
    kernel,
    height,
    width,
    phases,
    shuffle,
    outputs,
    kind,
    residual,
    threads,
    seed,
):
    words = kind == "int16" and dtype == torch.bfloat16 and isa in ("avx2", "avx512vnni")
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    x = normal(2, height * phases, width * phases, 16).to(dtype)
    weight = normal(outputs * shuffle**2, 16 * phases**2, kernel, kernel) / 10
    bias = normal(len(weight))
    skip = normal(2, height * shuffle, width * shuffle, outputs).to(dtype)
    packed = _C.Winograd(weight.numpy(), words or kind != "compact", threads, words)

    def rows(x, skip, begin, end):
        out = torch.full_like(skip, SENTINEL)
        packed.run(
            array(x),
            bias.numpy(),
            array(out),
            residual=array(skip) if residual else None,
            activation="gelu",
            phases=phases,
            shuffle=shuffle,
            threads=threads,
            isa=isa,
            rows_begin=begin,
            rows_end=end,
        )
        return out

    whole = rows(x, skip, 0, None)
    ends, side = boundaries(data, height, 6 + 1 - kernel), kernel // 2
    for begin, end in itertools.pairwise(ends):
        needed = only(x, (begin - side) * phases, (end + side) * phases)
        own = only(skip, begin * shuffle, end * shuffle)
        check_rows(rows(needed, own, begin, end), whole, begin * shuffle, end * shuffle)


def test_winograd_rows_must_be_whole_tiles():
    x, bias = np.zeros((1, 10, 4, 16), np.float32), np.zeros(16, np.float32)
    for kernel, good, bad in (
        (3, [(0, 4), (4, 10), (8, 8)], [(2, 4), (0, 6), (8, 4), (0, 12)]),
        (5, [(2, 4), (8, 10)], [(1, 4), (0, 5), (8, 12)]),
    ):
        packed = _C.Winograd(np.zeros((16, 16, kernel, kernel), np.float32), True, 1)
        for begin, end in good:
            packed.run(x, bias, np.empty_like(x), rows_begin=begin, rows_end=end)
        for begin, end in bad:
            with pytest.raises(ValueError, match="whole tiles"):
                packed.run(x, bias, np.empty_like(x), rows_begin=begin, rows_end=end)


@pytest.mark.skipif(not onednn.has_tiles(), reason="no tiles of bfloat16 on this CPU")
@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    shuffle=st.integers(1, 2),
    height=st.integers(1, 23),
    width=st.integers(1, 40),
    inputs=st.sampled_from([3, 16, 48]),
    outputs=st.sampled_from([3, 16, 40]),
    residual=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_tile_convolution(
    data, kernel, stride, shuffle, height, width, inputs, outputs, residual, threads, seed
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    x = normal(2, height, width, inputs).bfloat16()
    weight, bias = normal(outputs * shuffle**2, inputs, kernel, kernel) / 10, normal(outputs)
    count, columns = -(-height // stride), -(-width // stride)
    skip = normal(2, count * shuffle, columns * shuffle, outputs).bfloat16()
    packed = _C.TileConvolution(weight.numpy(), bias.repeat(shuffle**2).numpy())

    def rows(x, skip, begin, end):
        out = torch.full_like(skip, SENTINEL)
        packed.run(
            array(x),
            array(out),
            residual=array(skip) if residual else None,
            activation="gelu",
            stride=stride,
            shuffle=shuffle,
            threads=threads,
            rows_begin=begin,
            rows_end=end,
        )
        return out

    whole = rows(x, skip, 0, None)
    ends, side = boundaries(data, count, 1), kernel // 2
    for begin, end in itertools.pairwise(ends):
        needed = only(x, begin * stride - side, (end - 1) * stride + side + 1)
        own = only(skip, begin * shuffle, end * shuffle)
        check_rows(rows(needed, own, begin, end), whole, begin * shuffle, end * shuffle)
