"""The integer convolution: the same bits as in float64, on every instruction set."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops.integer_conv2d import integer_conv2d, largest_sum, reference

ISAS = rans.instruction_sets()
ZEROS = torch.zeros(6, dtype=torch.uint8)


def run(x, weight, border, stride, groups, isa, threads=2):
    """The C++, its output poisoned before."""
    batch, _, height, width = x[0].shape
    shape = (batch, -(-height // stride), -(-width // stride), weight.shape[0])
    out = np.full(shape, -(2**31), np.int32)
    maps = [half.permute(0, 2, 3, 1).contiguous().numpy() for half in x]
    packed = _C.IntegerWeights(weight.numpy(), groups)
    beyond = [half.numpy() for half in border]
    _C.integer_conv2d(packed, maps, beyond, out, stride, threads, isa)
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def activations(halves, shape, generator):
    return [
        torch.randint(0, 128, shape, dtype=torch.uint8, generator=generator) for _ in range(halves)
    ]


def weights(shape, generator):
    return torch.randint(-128, 128, shape, generator=generator).to(torch.int8)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(0, 2),
    sides=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    widths=st.tuples(st.integers(1, 21), st.integers(1, 40)),
    groups=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    halves=st.integers(1, 2),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_every_instruction_set_gives_the_bits_of_float64(
    isa, batch, sides, widths, groups, kernel, stride, halves, threads, seed
):
    generator = torch.Generator().manual_seed(seed)
    stride = min(stride, kernel)
    n, m = (groups * width for width in widths)
    x = activations(halves, (batch, n, *sides), generator)
    weight = weights((m, n // groups, kernel, kernel), generator)
    border = activations(halves, (n,), generator)
    out = run(x, weight, border, stride, groups, isa, threads)
    if batch == 0:
        assert out.numel() == 0
        return
    expected = reference(x, weight, border=border, stride=stride, groups=groups)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("halves", [1, 2])
def test_extreme_operands_neither_saturate_nor_overflow(isa, halves):
    # The largest sums of pairs that there are; 14 bits times 2^7 times 960 products are 2^31 - ...
    channels = 104 if halves == 2 else 4000
    x = [torch.full((1, channels, 4, 5), 127, dtype=torch.uint8)] * halves
    border = [torch.full((channels,), 127, dtype=torch.uint8)] * halves
    for value in (-128, 127):
        weight = torch.full((17, channels, 3, 3), value, dtype=torch.int8)
        assert largest_sum(weight, halves) < 2**31
        out = run(x, weight, border, 1, 1, isa)
        assert torch.equal(out, reference(x, weight, border=border))
        assert out[0, 0, 1, 1] == value * 9 * channels * (128**halves - 1)


def test_the_operator_takes_any_layout_and_follows_its_weights():
    generator = torch.Generator().manual_seed(0)
    x = activations(2, (2, 6, 9, 11), generator)
    weight = weights((8, 3, 3, 3), generator)
    border = activations(2, (6,), generator)
    for layout in (torch.contiguous_format, torch.channels_last):
        maps = [half.contiguous(memory_format=layout) for half in x]
        for _ in range(2):
            out = integer_conv2d(maps, weight, border=border, stride=2, groups=2)
            with backend("reference"):
                expected = integer_conv2d(maps, weight, border=border, stride=2, groups=2)
            assert torch.equal(out, expected)
            assert out.is_contiguous(memory_format=torch.channels_last)
            weight[3, 1, 2, 0] += 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": []}, ValueError, "one map or two halves"),
        ({"border": [ZEROS, ZEROS]}, ValueError, "a border for each"),
        ({"border": [ZEROS + 128]}, ValueError, r"0\.\.127"),
        ({"border": [ZEROS[:5]]}, ValueError, r"must be \(6,\)"),
        ({"border": [ZEROS.float()]}, TypeError, "border must be uint8"),
        ({"weight": torch.zeros(4, 6, 3, 3)}, TypeError, "weights int8"),
        ({"x": [torch.zeros(1, 6, 4, 4)]}, TypeError, "must be uint8"),
        ({"weight": torch.zeros(4, 6, 2, 2, dtype=torch.int8)}, ValueError, "k odd"),
        ({"weight": torch.zeros(4, 5, 3, 3, dtype=torch.int8)}, ValueError, r"\(B, 5, H, W\)"),
        ({"groups": 4}, ValueError, r"\(B, 24, H, W\)"),
        ({"stride": 4}, ValueError, r"1\.\.3, not 4"),
        ({"stride": 0}, ValueError, r"1\.\.3, not 0"),
        (
            {"x": [torch.full((1, 6, 4, 4), 128, dtype=torch.uint8)]},
            ValueError,
            r"must be in 0\.\.127",
        ),
        (
            {
                "x": [torch.zeros(1, 200, 4, 4, dtype=torch.uint8)] * 2,
                "weight": torch.full((4, 200, 3, 3), 127, dtype=torch.int8),
                "border": [torch.zeros(200, dtype=torch.uint8)] * 2,
            },
            ValueError,
            "32 bits do not hold",
        ),
    ],
)
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_operands_that_do_not_fit_are_refused(changes, error, message, name):
    arguments = {
        "x": [torch.zeros(1, 6, 4, 4, dtype=torch.uint8)],
        "weight": torch.zeros(4, 6, 3, 3, dtype=torch.int8),
        "border": [ZEROS],
        **changes,
    }
    with backend(name), pytest.raises(error, match=message):
        integer_conv2d(arguments.pop("x"), arguments.pop("weight"), **arguments)
