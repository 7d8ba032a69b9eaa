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
from tests.ops.arrays import array

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


@pytest.mark.skipif("amx" not in rans.instruction_sets(), reason="no tiles of bfloat16 on this CPU")
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


def attended(qkv, table, pad, window, shift, mask_value, isa, gap=0, threads=2, rows=(0, None)):
    """Window attention of (B, H, W, 3 C) whose pixels, and the result's, lie `gap` apart."""
    *sides, channels = qkv.shape
    source = torch.full((*sides, channels + gap), float("nan"), dtype=qkv.dtype)[..., :channels]
    out = torch.full((*sides, channels // 3 + gap), SENTINEL, dtype=qkv.dtype)
    _C.window_attention(
        array(source.copy_(qkv)),
        table.numpy(),
        None if pad is None else pad.numpy(),
        array(out[..., : channels // 3]),
        window,
        shift,
        0.3,
        mask_value,
        threads,
        isa,
        rows_begin=rows[0],
        rows_end=rows[1],
    )
    assert (out[..., channels // 3 :] == SENTINEL).all()
    return out[..., : channels // 3]


@every_isa
@every_dtype
@pytest.mark.parametrize("window", [4, 8])
@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    height=st.integers(1, 30),
    width=st.integers(1, 20),
    heads=st.integers(1, 2),
    size=st.sampled_from([8, 13, 16]),
    padded=st.booleans(),
    mask_value=st.sampled_from([-100.0, float("-inf")]),
    gap=st.sampled_from([0, 3]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_window_attention(
    isa, dtype, window, data, height, width, heads, size, padded, mask_value, gap, threads, seed
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    shift = data.draw(st.integers(0, window - 1), "shift")
    qkv = normal(2, height, width, 3 * heads * size).to(dtype)
    table = normal((2 * window - 1) ** 2, heads)
    pad = normal(3 * heads * size) if padded else None
    operands = table, pad, window, shift, mask_value, isa
    whole = attended(qkv, *operands)
    inner = list(range(shift, height, window))
    some = data.draw(st.sets(st.sampled_from(inner)) if inner else st.just(set()), "boundaries")
    ends = sorted({0, height} | some)
    for begin, end in itertools.pairwise(ends):
        needed = only(qkv, begin, end)
        found = attended(needed, *operands, gap, threads, (begin, end))
        check_rows(found, whole, begin, end)


@every_isa
def test_the_parts_of_a_wrapped_window_are_strangers(isa):
    """With a finite mask, too, and where that would let tokens of the other part have weight."""
    generator = torch.Generator().manual_seed(1)
    qkv = torch.randn(1, 12, 8, 3 * 8, generator=generator) * 30
    table = torch.zeros(49, 1)
    finite = attended(qkv, table, None, 4, 2, -1.0, isa)
    # The columns' mask is as it was: only windows that wrap by rows alone become as with -inf.
    infinite = attended(qkv, table, None, 4, 2, float("-inf"), isa)
    for begin, end in ((0, 2), (2, 10), (10, 12)):
        found = attended(only(qkv, begin, end), table, None, 4, 2, -1.0, isa, rows=(begin, end))
        inside = slice(2, 6)
        assert torch.equal(found[:, begin:end, inside], infinite[:, begin:end, inside])
        same = torch.equal(finite[:, begin:end, inside], infinite[:, begin:end, inside])
        assert same == ((begin, end) == (2, 10))


@pytest.mark.parametrize(
    ("shift", "good", "bad"),
    [
        (0, [(0, 4), (4, 8), (8, 10), (0, 10), (4, 4)], [(0, 2), (2, 10), (8, 4), (0, 12)]),
        (2, [(0, 2), (2, 6), (0, 6), (6, 10), (10, 10)], [(0, 4), (4, 10), (6, 2), (2, 14)]),
    ],
)
def test_window_attention_rows_must_be_whole_windows(shift, good, bad):
    qkv, table = torch.zeros(1, 10, 5, 24), torch.zeros(49, 1)
    for rows in good:
        found = attended(qkv, table, None, 4, shift, -100.0, "scalar", rows=rows)
        check_rows(found, torch.zeros(1, 10, 5, 8), *rows)
    for rows in bad:
        with pytest.raises(ValueError, match="where windows do"):
            attended(qkv, table, None, 4, shift, -100.0, "scalar", rows=rows)
