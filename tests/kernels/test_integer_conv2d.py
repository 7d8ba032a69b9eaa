"""The integer convolution kernel and what follows it, bit for bit as in the definition."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast.kernels import integer_conv2d as kernels
from lic_fast.ops.integer_conv2d import largest_sum
from lic_fast.ops.integer_launch import _launch
from lic_fast.ops.integer_layer import Quantizer, reference
from tests.kernels.operands import CUDA, DEVICE, moved

ACTIVATIONS = ["none", "relu", "leaky_relu", "gelu"]
GUARD = 97  # odd, so that what it guards is not aligned
POISON = 77


def guarded(x):
    """A channels-last copy on the device with poison before and behind it."""
    return guarded_like(x).copy_(x)


def guarded_like(x):
    flat = torch.full((x.numel() + 2 * GUARD,), POISON, dtype=x.dtype, device=DEVICE)
    last = x.permute(0, 2, 3, 1).shape
    return flat[GUARD : GUARD + x.numel()].view(last).permute(0, 3, 1, 2)


def guards_hold(x):
    flat = torch.empty(0, dtype=x.dtype, device=x.device).set_(x.untyped_storage())
    return bool((flat[:GUARD] == POISON).all()) and bool((flat[-GUARD:] == POISON).all())


def operands(seed, batch, groups, inputs, outputs, sides, side=3, stride=1, halves=1, bits=None):
    """What reference takes: x, weight, bias and scale, and by name border, residual, output."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    n, m = groups * inputs, groups * outputs
    x = [integers(0, 128, batch, n, *sides).to(torch.uint8) for _ in range(halves)]
    weight = integers(-128, 128, m, inputs, side, side).to(torch.int8)
    sums = 40 * 70 * 128 ** (halves - 1) * side * inputs**0.5
    sides = [-(-s // stride) for s in sides]
    output = None
    if bits is not None:
        steps = torch.rand(m, generator=generator) * 2**bits / 4
        output = Quantizer(steps, integers(0, 2**bits, m).int(), bits)
    return (x, weight, integers(-5000, 5000, m).int(), torch.rand(m, generator=generator) / sums), {
        "border": [integers(0, 128, n).to(torch.uint8) for _ in range(halves)],
        "stride": stride,
        "groups": groups,
        "residual": torch.randn(batch, m, *sides, generator=generator),
        "output": output,
    }


def assert_is_definition(layer, options, activation):
    expected = reference(*layer, activation=activation, **options)
    x, weight, bias, scale = layer
    residual, quantizer = options["residual"], options["output"]
    expected = [expected] if quantizer is None else expected
    out = [guarded_like(e) for e in expected]
    kernels.integer_conv2d(
        [guarded(half) for half in x],
        kernels.pack(moved(weight), options["groups"]),
        kernels.edges(moved(weight), [moved(b) for b in options["border"]], options["groups"]),
        moved(bias),
        moved(scale),
        activation,
        None if residual is None else guarded(residual),
        None if quantizer is None else (moved(quantizer.inverse_step), moved(quantizer.zero)),
        stride=options["stride"],
        out=out,
    )
    for actual, definition in zip(out, expected, strict=True):
        assert guards_hold(actual)
        assert torch.equal(as_bits(actual.cpu()), as_bits(definition))


def as_bits(x):
    return x.contiguous().view(torch.int32) if x.dtype == torch.float32 else x


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 2),
    groups=st.integers(1, 3),
    inputs=st.sampled_from([1, 3, 16, 32, 65]),
    outputs=st.sampled_from([1, 5, 16, 32, 40]),
    sides=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    window=st.sampled_from([(1, 1), (3, 1), (3, 2), (3, 3), (5, 2)]),
    halves=st.integers(1, 2),
    bits=st.sampled_from([None, 7, 14]),
    added=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    processors=st.sampled_from([1, 4, 132]),
    seed=st.integers(0, 2**31),
)
def test_is_the_definition(
    batch,
    groups,
    inputs,
    outputs,
    sides,
    window,
    halves,
    bits,
    added,
    activation,
    processors,
    seed,
):
    layer, options = operands(
        seed, batch, groups, inputs, outputs, sides, *window, halves=halves, bits=bits
    )
    options["residual"] = options["residual"] if added else None
    with mock.patch.object(kernels, "multiprocessors", return_value=processors):
        assert_is_definition(layer, options, activation)


@pytest.mark.parametrize("chosen", range(len(kernels._TILES)))
def test_every_tile(chosen):
    chosen = kernels._TILES[chosen]
    # More than one tile, neither of them full, in each direction.
    sides = (9, chosen.pixels // 9 + 2)
    layer, options = operands(0, 1, 2, chosen.inputs + 2, chosen.outputs + 3, sides, bits=7)
    with mock.patch.object(kernels, "tile", return_value=chosen):
        assert_is_definition(layer, options, "gelu")


@pytest.mark.parametrize(("halves", "bits"), [(1, None), (2, None), (2, 7), (2, 14)])
@pytest.mark.parametrize("value", [-128, 127])
def test_extreme_sums(value, halves, bits):
    # The largest sums that 32 bits hold: 14 bits times 2^7 times 1017 products, and so on.
    inputs = 113 if halves == 2 else 14000
    layer, options = operands(1, 1, 1, inputs, 2, (3, 4), halves=halves, bits=bits)
    x, weight, _, _ = layer
    for half in (*x, *options["border"]):
        half.fill_(127)
    weight.fill_(value)
    layer = (x, weight, torch.zeros(2).int(), torch.tensor([2.0**-24, 3e-9]))
    assert 2**30 < largest_sum(weight, halves) < 2**31
    with mock.patch.object(kernels, "tile", return_value=kernels.Tile(16, 16, 1024, 2, 2)):
        assert_is_definition(layer, options, "none")
        assert_is_definition(layer, options, "gelu")


def test_sums_between_two_float32_are_rounded_to_even():
    # 2^24 + 1 and 2^24 + 3 lie in the middle of two float32.
    layer, options = operands(0, 1, 1, 1, 4, (1, 1), 1)
    options["residual"] = None
    bias = torch.tensor([2**24 + 1, 2**24 + 3, -(2**24) - 1, -(2**24) - 3]).int()
    layer = (layer[0], torch.zeros(4, 1, 1, 1).to(torch.int8), bias, torch.ones(4))
    expected = reference(*layer, **options).flatten().tolist()
    assert expected == [2**24, 2**24 + 4, -(2**24), -(2**24) - 4]
    assert_is_definition(layer, options, "none")


def test_channels_of_a_wider_map_are_read_and_written_in_place():
    (x, weight, bias, scale), options = operands(0, 2, 2, 6, 5, (4, 5), halves=2)
    expected = reference(x, weight, bias, scale, **options)
    wide = [guarded(torch.cat([half, half, half], 1)) for half in x]
    written = guarded(torch.cat([options["residual"]] * 3, 1))
    before = written.clone()
    kernels.integer_conv2d(
        [half[:, 12:24] for half in wide],
        kernels.pack(moved(weight), 2),
        kernels.edges(moved(weight), [moved(b) for b in options["border"]], 2),
        moved(bias),
        moved(scale),
        "none",
        written[:, 10:20],
        None,
        out=[written[:, 10:20]],
    )
    assert torch.equal(written[:, 10:20].cpu(), expected)
    assert torch.equal(written[:, :10], before[:, :10])
    assert torch.equal(written[:, 20:], before[:, 20:])


def test_packed_weights_and_edges():
    weight = torch.arange(4 * 3 * 9).view(4, 3, 3, 3).to(torch.int8)
    border = [torch.tensor([1, 2, 3, 4, 5, 6]).to(torch.uint8), torch.arange(6).to(torch.uint8)]
    packed, edges = kernels.pack(weight, 2), kernels.edges(weight, border, 2)
    assert packed.shape == (2, 9, 2, 3)
    assert packed.is_contiguous()
    assert edges.shape == (9, 4)
    for group in range(2):
        for place in range(9):
            for o in range(2):
                added = 0
                for i in range(3):
                    expected = int(weight[2 * group + o, i, place // 3, place % 3])
                    assert packed[group, place, o, i] == expected
                    n = 3 * group + i
                    added += expected * (128 * int(border[0][n]) + int(border[1][n]))
                assert edges[place, 2 * group + o] == added


@given(
    pixels=st.integers(1, 2**20),
    inputs=st.integers(1, 800),
    outputs=st.integers(1, 2000),
    groups=st.integers(1, 12),
)
def test_tiles_occupy_the_device_where_they_can(pixels, inputs, outputs, groups):
    def programs(tile):
        return -(-pixels // tile.pixels) * -(-outputs // tile.outputs) * groups

    chosen = kernels.tile(pixels, inputs, outputs, groups, 132)
    enough = [tile for tile in kernels._TILES if programs(tile) >= 132]
    largest = enough[0] if enough else kernels._TILES[-1]
    assert chosen._replace(inputs=largest.inputs) == largest
    assert 32 <= chosen.inputs <= max(32, 2 * inputs - 1)
    assert chosen.inputs == largest.inputs or chosen.inputs >= inputs


def test_programs_of_the_networks_of_one_slice():
    # As the kernel's docstring has them.
    widths, programs = (224, 176, 128, 64, 32), []
    for outputs in widths:
        tile = kernels.tile(32 * 48, 224, outputs, 1, 132)
        programs.append(32 * 48 // tile.pixels * -(-outputs // tile.outputs))
    assert programs == [168, 144, 192, 192, 96]


def launched(layer, options, activation):
    """By the operator's launch, which takes its arguments in order."""
    x, weight, bias, scale = layer
    residual, output = options["residual"], options["output"]
    return _launch(
        [moved(half) for half in x],
        moved(weight),
        moved(bias),
        moved(scale),
        [moved(half) for half in options["border"]],
        options["stride"],
        options["groups"],
        activation,
        None if residual is None else moved(residual),
        *((None, None, 0) if output is None else (*map(moved, output[:2]), output.bits)),
    )


@pytest.mark.parametrize("bits", [None, 7, 14])
def test_the_operator_launches_for_any_strides(bits):
    layer, options = operands(0, 2, 1, 6, 5, (4, 5), halves=2, bits=bits)
    expected = reference(*layer, activation="relu", **options)
    expected = [expected] if bits is None else expected
    # The halves in different layouts, all else every second element.
    x = [layer[0][0], layer[0][1].contiguous(memory_format=torch.channels_last)]
    layer = (x, layer[1], *(torch.stack([v, v + 1], 1)[:, 0] for v in layer[2:]))
    out = launched(layer, options, "relu")
    for actual, definition in zip(out, expected, strict=True):
        assert torch.equal(actual.cpu(), definition)
        assert actual.is_contiguous(memory_format=torch.channels_last)
    options["residual"] = None
    layer = ([half[:0] for half in layer[0]], *layer[1:])
    assert launched(layer, options, "none")[0].shape == (0, 5, 4, 5)


def test_the_operator_refuses_what_it_would_read_out_of_bounds():
    layer, options = operands(0, 1, 1, 6, 5, (4, 5))
    options["residual"] = options["residual"][:, :4]
    with pytest.raises(ValueError, match="residual must be"):
        launched(layer, options, "none")
    layer, options = operands(0, 1, 1, 4000, 1, (1, 1), halves=2)
    with pytest.raises(ValueError, match="32 bits"):
        launched(layer, options, "none")


def test_a_new_border_in_the_place_of_an_old_one_is_seen():
    layer, options = operands(0, 1, 1, 6, 5, (4, 5), halves=2)
    weight = moved(layer[1])
    memory = torch.zeros(2, 6, dtype=torch.uint8, device=DEVICE)
    for value in (3, 100):
        # As where an allocator gives a freed address again: no version counter has changed.
        other = torch.full((12,), value, dtype=torch.uint8)
        memory.untyped_storage().copy_(other.untyped_storage())
        border = [memory.data[0], memory.data[1]]
        for _ in range(2):
            options["border"] = border
            out = _launch(
                [moved(half) for half in layer[0]],
                weight,
                *(moved(v) for v in layer[2:]),
                border,
                1,
                1,
                "none",
                moved(options["residual"]),
                None,
                None,
                0,
            )
            cpu = options | {"border": [half.cpu() for half in border]}
            assert torch.equal(out[0].cpu(), reference(*layer, **cpu))


def test_no_launch_may_fuse_products_with_sums():
    layer, options = operands(0, 1, 1, 6, 5, (4, 5))
    with mock.patch.object(kernels, "integer_conv2d_kernel", mock.MagicMock()) as kernel:
        launched(layer, options, "none")
    (launch,) = kernel.__getitem__.return_value.call_args_list
    assert launch.kwargs["enable_fp_fusion"] is False


@pytest.mark.skipif(not CUDA, reason="needs a GPU")
@pytest.mark.parametrize("bits", [None, 7, 14])
@pytest.mark.parametrize(
    ("groups", "inputs", "outputs", "sides", "side"),
    [
        (1, 576, 224, (32, 48), 3),
        (12, 32, 224, (32, 48), 3),
        (1, 64, 32, (32, 48), 3),
        (2, 336, 1536, (16, 24), 3),
        (1, 192, 192, (16, 24), 1),
    ],
)
def test_the_models_shapes(groups, inputs, outputs, sides, side, bits):
    halves = 1 if bits == 7 else 2
    layer = operands(0, 1, groups, inputs, outputs, sides, side, halves=halves, bits=bits)
    assert_is_definition(*layer, "gelu")
