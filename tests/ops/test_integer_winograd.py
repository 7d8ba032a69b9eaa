"""Winograd's algorithm in integers: the bits of the definition, wherever it is used."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, rans
from lic_fast.ops.integer_conv2d import largest_sum, reference
from lic_fast.ops.integer_layer import pack
from lic_fast.ops.integer_layer import reference as layer_reference
from tests.ops.integer_operands import (
    ACTIVATIONS,
    activations,
    as_array,
    assert_same_bits,
    assert_untouched_around,
    parameters,
    part_of_a_larger_map,
    poisoned,
)

# Tiles of AMX multiply so fast that fewer products are no gain.
ISAS = [isa for isa in rans.instruction_sets() if isa != "amx"]
LEAST_HALVES = {isa: 2 if isa == "avx512vnni" else 1 for isa in ISAS}
"""Elsewhere the algorithm gains for activations of 7 bits too."""


def run(x, weight, border, groups, isa, threads=1):
    """The sums, and whether they come from here."""
    batch, _, height, width = x[0].shape
    out = np.full((batch, height, width, len(weight)), -(2**31), np.int32)
    packed = _C.IntegerWeights(weight.numpy(), groups)
    beyond = [half.numpy() for half in border]
    _C.integer_conv2d(packed, [as_array(half) for half in x], beyond, out, 1, threads, isa)
    return torch.from_numpy(out).permute(0, 3, 1, 2), packed.tile_sides


def tiles(side, batch, height, width):
    return batch * -(-height // side) * -(-width // side)


def sides_used(isa, x, border, groups):
    """Of tiles: those of four where activations use 9 bits in most segments of 32 channels."""
    batch, channels, height, width = x[0].shape
    own = channels // groups
    if own < 32 or tiles(2, batch, height, width) < 12:
        return []
    if tiles(4, batch, height, width) >= 12:
        most = torch.maximum(x[0].amax((0, 2, 3)), border[0]).view(groups, own)
        wide = [bool((part > 3).any()) for group in most for part in group.split(32)]
        if len(x) == 1 or sum(wide) <= 0.6 * len(wide):
            return [4]
    return [2] if len(x) >= LEAST_HALVES[isa] else []


def some(kind, shape, generator):
    """Halves of activations, or their borders, channels in dimension -3 or alone."""
    top = 3 if "narrow" in kind else 4 if "hardly" in kind else 127
    top = torch.full(shape, top, dtype=torch.uint8)
    if kind == "mixed":
        channels = shape[max(0, len(shape) - 3)]
        narrow = torch.rand(-(-channels // 32), generator=generator) < 0.7
        of_channel = torch.where(narrow, 3, 127).repeat_interleave(32)[:channels].to(torch.uint8)
        top = of_channel.view(-1, *[1] * len(shape[-2:])) if len(shape) > 1 else of_channel
        top = top.expand(shape)
    high, low = activations(2, shape, generator)
    if "random" in kind or kind == "mixed":
        return [high % (top + 1), low]
    if "ends" in kind:
        ends = high % 2
        return [ends * top, ends * 127]
    most = int(kind.startswith("most"))
    return [most * top, most * torch.full_like(top, 127)]


ACTIVATION_KINDS = st.sampled_from(
    [
        *("random", "ends", "least", "most", "mixed"),
        *("narrow random", "narrow ends", "most narrow"),
        *("hardly wide random", "hardly wide ends", "most hardly wide"),
    ]
)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 2),
    sides=st.tuples(st.integers(1, 15), st.integers(1, 25)),
    widths=st.tuples(st.integers(29, 120), st.integers(1, 70)),
    groups=st.integers(1, 3),
    halves=st.integers(1, 2),
    kinds=st.tuples(ACTIVATION_KINDS, ACTIVATION_KINDS),
    extreme=st.booleans(),
    threads=st.integers(1, 9),
    seed=st.integers(0, 999),
)
def test_every_instruction_set_gives_the_bits_of_float64(
    isa, batch, sides, widths, groups, halves, kinds, extreme, threads, seed
):
    generator = torch.Generator().manual_seed(seed)
    n, m = (groups * width for width in widths)
    x = some(kinds[0], (batch, n, *sides), generator)[:halves]
    border = some(kinds[1], (n,), generator)[:halves]
    weight = torch.randint(-128, 128, (m, n // groups, 3, 3), generator=generator)
    if extreme:
        weight = torch.where(weight < 0, -128, 127)
    weight = weight.to(torch.int8)
    out, used = run(x, weight, border, groups, isa, threads)
    assert torch.equal(out, reference(x, weight, border=border, groups=groups))
    assert used == sides_used(isa, x, border, groups)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", [32, 57, 64, 96, 113, 128, 200])
@pytest.mark.parametrize("value", [127, -128, None])
@pytest.mark.parametrize(
    ("top", "sides"),
    [
        ([127, 127], (7, 8)),
        ([4, 127], (13, 16)),
        ([3, 127], (13, 16)),
        ([127], (13, 16)),
        (None, (13, 16)),
    ],
)
def test_the_largest_sums_of_a_run_of_channels_and_of_several(isa, channels, value, top, sides):
    # With all weights at an end, 32 to 96 channels can be divided at once.
    if value is None:
        signs = torch.where(torch.arange(channels) % 2 == 0, 127, -128)
        weight = signs.view(1, -1, 1, 1).repeat(35, 1, 3, 3)
        weight[1:] = torch.where(torch.arange(34).view(-1, 1, 1, 1) % 3 == 0, -1, 1) * 127
        weight[1:, 100:] = 0
    else:
        weight = torch.full((35, channels, 3, 3), value)
        weight[:, 113:] = 0
    weight = weight.to(torch.int8)
    assert largest_sum(weight, 2) < 2**31
    # All of 14 bits, hardly more than 9 of them, 9, 7, or 14 in every other segment.
    every_other = torch.where(torch.arange(channels) // 32 % 2 == 0, 127, 3).to(torch.uint8)
    tops = [torch.full((channels,), half, dtype=torch.uint8) for half in top or [127, 127]]
    if top is None:
        tops[0] = 130 - every_other
    # Each activation at the end that makes the first output channel's sum as large as it can be.
    most = (weight[0, :, 0, 0] > 0).to(torch.uint8)
    for end in (most, 1 - most, torch.zeros_like(most), torch.ones_like(most)):
        border = [end * half for half in tops]
        x = [half.view(1, -1, 1, 1).repeat(1, 1, *sides) for half in border]
        out, used = run(x, weight, border, 1, isa)
        assert used == sides_used(isa, x, border, 1)
        assert torch.equal(out, reference(x, weight, border=border))


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 2),
    sides=st.tuples(st.integers(5, 9), st.integers(7, 30)),
    widths=st.tuples(st.integers(32, 50), st.integers(1, 50)),
    groups=st.integers(1, 2),
    activation=st.sampled_from(ACTIVATIONS),
    bits=st.sampled_from([0, 7, 14]),
    residual=st.booleans(),
    threads=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_layers_end_as_their_definition_does(
    isa, batch, sides, widths, groups, activation, bits, residual, threads, seed
):
    generator = torch.Generator().manual_seed(seed)
    n, m = (groups * width for width in widths)
    layer = parameters(n, m, generator, groups=groups, halves=2, activation=activation, bits=bits)
    x = activations(2, (batch, n, *sides), generator)
    shape = (batch, m, *sides)
    added = torch.randn(shape, generator=generator) if residual else None
    out, around = poisoned(shape, bits)
    maps = [part_of_a_larger_map(half, 2, 5, np.uint8(255))[0] for half in x]
    addend = part_of_a_larger_map(added, 1, 3, np.nan)[0] if residual else None
    packed = pack(**layer)
    packed.run(maps, addend, threads, isa, out)
    assert packed.tile_sides
    assert_same_bits(out, layer_reference(x, **layer, residual=added))
    assert_untouched_around(around, out)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 2),
    sides=st.tuples(st.integers(5, 9), st.integers(7, 20)),
    widths=st.lists(st.sampled_from([32, 33, 36, 48, 52]), min_size=3, max_size=4),
    groups=st.integers(1, 2),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_networks_whose_maps_have_their_border(isa, batch, sides, widths, groups, threads, seed):
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for n, m in pairwise(widths):
        bits = 0 if len(layers) == len(widths) - 2 else 14
        form = {"groups": groups, "halves": 2, "activation": "leaky_relu", "bits": bits}
        layers.append(parameters(groups * n, groups * m, generator, **form))
    x = activations(2, (batch, groups * widths[0], *sides), generator)
    expected = x
    for layer in layers:
        expected = layer_reference(expected, **layer)
    packed = [pack(**layer) for layer in layers]
    out = _C.IntegerNetwork(packed).run([as_array(half) for half in x], threads, isa)
    assert all(layer.tile_sides for layer in packed)
    assert_same_bits(out, expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("changes", "shape", "used"),
    [
        ({}, (1, 64, 8, 12), True),
        ({}, (1, 64, 5, 7), True),
        ({}, (2, 64, 4, 6), True),
        ({"groups": 2}, (1, 64, 8, 12), True),
        ({"groups": 4}, (1, 64, 8, 12), False),
        ({}, (1, 64, 4, 6), False),
        ({"kernel": 1}, (1, 64, 8, 12), False),
        ({"kernel": 5}, (1, 64, 8, 12), False),
        ({"stride": 2}, (1, 64, 8, 12), False),
        ({"halves": 1}, (1, 64, 8, 12), None),
    ],
)
def test_it_is_used_where_it_is_faster(isa, changes, shape, used):
    generator = torch.Generator().manual_seed(0)
    layer = pack(**parameters(64, 64, generator, **{"halves": 2, **changes}))
    halves = changes.get("halves", 2)
    assert layer.tile_sides == []
    layer.run([as_array(half) for half in activations(halves, shape, generator)], None, 1, isa)
    if used is None:
        used = halves >= LEAST_HALVES[isa]
    assert layer.tile_sides == ([2] if used else [])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize(
    "place", [(0, 0, 0, 0), (0, 7, 11, 35), (0, 7, 11, 31), (0, 4, 5, 33), (0, 7, 0, 9)]
)
def test_activations_beyond_7_bits_are_refused(isa, half, place):
    layer = pack(**parameters(36, 40, torch.Generator().manual_seed(0), halves=2))
    x = [np.zeros((1, 8, 12, 36), np.uint8) for _ in range(2)]
    x[half][place] = 128
    with pytest.raises(ValueError, match=r"0\.\.127"):
        layer.run(x, None, 2, isa)


def test_the_first_calls_may_come_from_several_threads_at_once():
    generator = torch.Generator().manual_seed(0)
    parameters_ = parameters(64, 96, generator, halves=2)
    layer = pack(**parameters_)
    x = activations(2, (1, 64, 8, 12), generator)
    maps = [as_array(half) for half in x]
    expected = layer_reference(x, **parameters_)
    with ThreadPoolExecutor(4) as pool:
        for out in pool.map(lambda _: layer.run(maps, None, 2), range(8)):
            assert_same_bits(out, expected)
