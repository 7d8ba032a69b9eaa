"""Integer layers: the bits of the definition, on every instruction set."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops.integer_layer import Quantizer, integer_layer, pack, reference
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

ISAS = rans.instruction_sets()
ZEROS = torch.zeros(6, dtype=torch.uint8)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 2),
    sides=st.tuples(st.integers(1, 9), st.integers(1, 30)),
    widths=st.tuples(st.integers(1, 21), st.integers(1, 40)),
    groups=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    halves=st.integers(1, 2),
    activation=st.sampled_from(ACTIVATIONS),
    bits=st.sampled_from([0, 7, 14]),
    residual=st.sampled_from([None, 1.0, 1e30]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_every_instruction_set_gives_the_bits_of_the_definition(
    isa,
    batch,
    sides,
    widths,
    groups,
    kernel,
    stride,
    halves,
    activation,
    bits,
    residual,
    threads,
    seed,
):
    generator = torch.Generator().manual_seed(seed)
    n, m = (groups * width for width in widths)
    form = {"groups": groups, "kernel": kernel, "stride": min(stride, kernel), "halves": halves}
    layer = parameters(n, m, generator, **form, activation=activation, bits=bits)
    x = activations(halves, (batch, n, *sides), generator)
    shape = (batch, m, *(-(-side // layer["stride"]) for side in sides))
    added = None if residual is None else torch.randn(shape, generator=generator) * residual
    expected = reference(x, **layer, residual=added)

    out, around = poisoned(shape, bits)
    maps = [part_of_a_larger_map(half, 2, 5, np.uint8(255))[0] for half in x]
    addend = None if added is None else part_of_a_larger_map(added, 1, 3, np.nan)[0]
    result = pack(**layer).run(maps, addend, threads, isa, out)
    assert result is out
    assert_same_bits(out, expected)
    assert_untouched_around(around, out)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("halves", [1, 2])
def test_extreme_sums_neither_saturate_nor_overflow(isa, sign, halves):
    channels = 13 if halves == 2 else 1700
    top = 128**halves - 1
    weight = torch.full((17, channels, 3, 3), 127 * sign, dtype=torch.int8)
    # The largest bias that the weights leave room for.
    bias = torch.full((17,), sign * (2**31 - 1 - 127 * 9 * channels * top), dtype=torch.int32)
    border = [torch.full((channels,), 127, dtype=torch.uint8)] * halves
    layer = {"weight": weight, "bias": bias, "scale": torch.full((17,), 0.5), "border": border}
    x = [torch.full((1, channels, 4, 5), 127, dtype=torch.uint8)] * halves
    out = pack(**layer, stride=1, groups=1, activation="none", output=None).run(
        [as_array(half) for half in x], None, 1, isa
    )
    assert_same_bits(out, reference(x, **layer))
    assert (out == sign * 2.0**30).all()
    layer["bias"] = bias + sign
    for name in ("auto", "reference"):
        with backend(name), pytest.raises(ValueError, match=f"may reach {2**31}, "):
            integer_layer(x, **layer)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bits", [7, 14])
def test_ties_round_to_even_and_what_is_beyond_is_clamped(isa, bits):
    top = 2**bits - 1
    sums = torch.arange(-300, 300, dtype=torch.int32)
    sums = torch.cat([sums, 2 * top + torch.arange(-9, 9, dtype=torch.int32)])
    channels = len(sums)
    output = Quantizer(torch.ones(channels), torch.full((channels,), 3, dtype=torch.int32), bits)
    layer = {
        "weight": torch.zeros(channels, 1, 1, 1, dtype=torch.int8),
        "bias": sums,
        "scale": torch.full((channels,), 0.5),
        "border": [ZEROS[:1]],
    }
    x = [torch.zeros(1, 1, 1, 1, dtype=torch.uint8)]
    packed = pack(**layer, stride=1, groups=1, activation="none", output=output)
    out = packed.run([as_array(x[0])], None, 1, isa)
    assert_same_bits(out, reference(x, **layer, output=output))
    value = out[-1].astype(int).ravel() + (128 * out[0].astype(int).ravel() if bits == 14 else 0)
    expected = [min(max(round(int(s) / 2) + 3, 0), top) for s in sums]  # Python's rounds to even
    assert value.tolist() == expected


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_zeros_of_both_signs_and_of_any_magnitude(isa, activation):
    values = torch.cat([torch.linspace(-6, 6, 4001), torch.logspace(-30, 30, 601)])
    values = torch.cat([values, -values, torch.tensor([0.0, -0.0, 4.5, -4.5])])
    residual = values.view(1, 1, 1, -1).repeat(1, 17, 1, 1)
    layer = {
        "weight": torch.zeros(17, 1, 1, 1, dtype=torch.int8),
        "bias": torch.zeros(17, dtype=torch.int32),
        # Times the sum of zero: a zero with a sign, that keeps that of the residual.
        "scale": torch.full((17,), -1.0),
        "border": [ZEROS[:1]],
    }
    x = [torch.zeros(1, 1, 1, len(values), dtype=torch.uint8)]
    packed = pack(**layer, stride=1, groups=1, activation=activation, output=None)
    out = packed.run([as_array(x[0])], as_array(residual), 1, isa)
    expected = reference(x, **layer, activation=activation, residual=residual)
    assert_same_bits(out, expected)
    assert np.signbit(out[0, 0, -3]).all() == (activation != "relu")


@pytest.mark.parametrize("bits", [0, 7, 14])
def test_the_operator_takes_any_layout_and_follows_its_parameters(bits):
    generator = torch.Generator().manual_seed(0)
    layer = parameters(6, 20, generator, groups=2, halves=2, activation="gelu", bits=bits)
    x = activations(2, (2, 6, 9, 11), generator)
    residual = torch.randn(2, 20, 9, 11, generator=generator)
    changed = [layer["weight"], layer["bias"], layer["scale"], *layer["border"]]
    if bits:
        changed += [layer["output"].inverse_step, layer["output"].zero]
    for layout in (torch.contiguous_format, torch.channels_last):
        maps = [half.contiguous(memory_format=layout) for half in x]
        added = residual.contiguous(memory_format=layout)
        for tensor in [torch.zeros(1), *changed]:
            tensor.view(-1)[0] = tensor.view(-1)[0] // 2 if tensor.dtype != torch.float32 else 0.75
            out = integer_layer(maps, **layer, residual=added)
            expected = reference(maps, **layer, residual=added)
            for got, wanted in zip(out, expected, strict=True) if bits else [(out, expected)]:
                assert torch.equal(got, wanted)
                assert got.is_contiguous(memory_format=torch.channels_last)


def test_the_residual_may_be_written_over():
    generator = torch.Generator().manual_seed(0)
    layer = parameters(5, 35, generator)
    x = activations(1, (1, 5, 7, 26), generator)
    residual = torch.randn(1, 35, 7, 26, generator=generator)
    expected = reference(x, **layer, residual=residual)
    memory = as_array(residual)
    pack(**layer).run([as_array(x[0])], memory, 2, None, memory)
    assert_same_bits(memory, expected)


def test_no_pixels_and_no_images():
    layer = parameters(5, 35, torch.Generator().manual_seed(0), bits=14)
    for shape in ((0, 5, 4, 4), (1, 5, 0, 4), (1, 5, 4, 0)):
        out = pack(**layer).run([as_array(torch.zeros(shape, dtype=torch.uint8))], None, 2)
        assert [half.shape for half in out] == [(shape[0], *shape[2:], 35)] * 2


def one(**changes):
    return {
        "weight": torch.zeros(4, 6, 3, 3, dtype=torch.int8),
        "bias": torch.zeros(4, dtype=torch.int32),
        "scale": torch.ones(4),
        "border": [ZEROS],
        **changes,
    }


def quantized_to(**changes):
    numbers = {
        "inverse_step": torch.ones(4),
        "zero": torch.zeros(4, dtype=torch.int32),
        "bits": 7,
    }
    return {"output": Quantizer(**{**numbers, **changes})}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": []}, ValueError, "one map or two halves"),
        ({"x": [torch.zeros(1, 6, 4, 4)]}, TypeError, "must be uint8"),
        ({"x": [torch.full((1, 6, 4, 4), 128, dtype=torch.uint8)]}, ValueError, r"0\.\.127"),
        ({"border": [ZEROS + 128]}, ValueError, r"0\.\.127"),
        ({"weight": torch.zeros(4, 6, 2, 2, dtype=torch.int8)}, ValueError, "k odd"),
        ({"stride": 4}, ValueError, r"1\.\.3, not 4"),
        ({"groups": 4}, ValueError, r"\(B, 24, H, W\)"),
        ({"bias": torch.zeros(4)}, TypeError, "bias must be torch.int32"),
        ({"bias": torch.zeros(5, dtype=torch.int32)}, ValueError, r"bias must be \(4,\)"),
        ({"scale": torch.ones(4).double()}, TypeError, "scale must be torch.float32"),
        ({"scale": torch.ones(3)}, ValueError, r"scale must be \(4,\)"),
        ({"activation": "tanh"}, ValueError, "not 'tanh'"),
        ({"residual": torch.zeros(1, 4, 4, 4).double()}, TypeError, "residual must be"),
        ({"residual": torch.zeros(1, 4, 4, 5)}, ValueError, "residual must be"),
        ({"residual": torch.zeros(4)}, ValueError, "residual must be"),
        (quantized_to(bits=8), ValueError, "7 or 14 bits, not 8"),
        (quantized_to(inverse_step=torch.ones(3)), ValueError, r"inverse_step must be \(4,\)"),
        (quantized_to(zero=torch.zeros(4)), TypeError, "zero must be torch.int32"),
        (quantized_to(zero=torch.zeros(4).int() + 128), ValueError, r"zero must be in 0\.\.2"),
        (quantized_to(zero=torch.zeros(4).int() - 1), ValueError, r"zero must be in 0\.\.2"),
    ],
)
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_operands_that_do_not_fit_are_refused(changes, error, message, name):
    arguments = one(**{"x": [torch.zeros(1, 6, 4, 4, dtype=torch.uint8)], **changes})
    with backend(name), pytest.raises(error, match=message):
        integer_layer(arguments.pop("x"), **arguments)


def layer_of(**changes):
    arguments = {"stride": 1, "groups": 1, "activation": "none", "output": None, **one(**changes)}
    return pack(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"border": []}, "one or two borders"),
        ({"border": [ZEROS] * 3}, "one or two borders"),
        ({"border": [ZEROS[:5]]}, r"a border must be \(6,\)"),
        ({"border": [ZEROS + 128]}, r"0\.\.127"),
        ({"groups": 3}, "do not divide"),
        ({"groups": 0}, "do not divide"),
        ({"stride": 4}, r"1\.\.k"),
        ({"stride": 0}, r"1\.\.k"),
        ({"activation": "erf"}, "not 'erf'"),
        ({"bias": torch.zeros(5, dtype=torch.int32)}, r"bias must be \(4,\)"),
        ({"weight": torch.zeros(4, 6, 3, dtype=torch.int8)}, "odd k"),
        ({"weight": torch.zeros(4, 0, 3, 3, dtype=torch.int8)}, "do not divide"),
        ({"bias": torch.full((4,), -(2**31), dtype=torch.int32)}, "may reach 2147483648, "),
        (quantized_to(bits=0), "7 or 14 bits"),
        (quantized_to(zero=torch.zeros(4).int() + 128), r"0\.\.2"),
    ],
)
def test_layers_that_are_none_are_not_packed(changes, message):
    with pytest.raises(ValueError, match=message):
        layer_of(**changes)


X = np.zeros((1, 4, 4, 6), np.uint8)
OUT = np.zeros((1, 4, 4, 4), np.float32)
BOTH = np.zeros((1, 4, 4, 10), np.uint8)
READ_ONLY = np.broadcast_to(np.float32(0), (1, 4, 4, 4))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": []}, ValueError, "a map for each border"),
        ({"x": [X, X]}, ValueError, "a map for each border"),
        ({"x": [X[0]]}, ValueError, r"x must be \(B, H, W, N\)"),
        ({"x": [X[..., :5]]}, ValueError, "x has another shape"),
        ({"x": [X.astype(np.int8)]}, TypeError, "x must be of type uint8"),
        ({"x": [X.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)]}, ValueError, "side by side"),
        ({"x": [np.full_like(X, 200)]}, ValueError, r"0\.\.127"),
        ({"residual": OUT[:, :3]}, ValueError, "residual has another shape"),
        ({"residual": OUT.astype(np.float64)}, TypeError, "residual must be of type float32"),
        ({"isa": "sse"}, ValueError, "'sse'"),
        ({"out": OUT[:, :3]}, ValueError, "out has another shape"),
        ({"out": OUT.astype(np.float64)}, TypeError, "out must be of type float32"),
        ({"out": READ_ONLY}, ValueError, "writeable"),
        ({"out": [OUT]}, TypeError, "must be an array"),
        ({"out": 3}, TypeError, "must be an array"),
        (
            {"out": np.zeros(OUT.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(OUT.shape)},
            ValueError,
            "not aligned",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, error, message):
    arguments = {"x": [X], "residual": None, "threads": 1, **changes}
    with pytest.raises(error, match=message):
        layer_of().run(**arguments)


@pytest.mark.parametrize(
    ("x", "out", "message"),
    [
        (BOTH[..., :6], [BOTH[..., 6:]], None),
        (BOTH[..., 4:], [BOTH[..., :4]], None),
        (BOTH[..., :6], [BOTH[..., 5:9]], "out overlaps x"),
        (BOTH[:, ::-1, :, :6], [BOTH[:, :, ::-1, 2:6]], "out overlaps x"),
        (BOTH[..., :6], [BOTH[..., 6:], BOTH[..., 6:]], "must have 1 map"),
        (BOTH[..., :6], [], "must have 1 map"),
    ],
)
def test_input_and_output_may_be_channels_of_one_map_but_not_the_same(x, out, message):
    layer = layer_of(**quantized_to())
    if message is None:
        assert layer.run([x], None, 1, None, out) is out
        return
    with pytest.raises(ValueError, match=message):
        layer.run([x], None, 1, None, out)


@pytest.mark.parametrize("out", [5, [5], [[[[[0] * 4]]]]])
def test_halves_that_are_no_arrays_are_refused(out):
    with pytest.raises(TypeError, match="out must be a"):
        layer_of(**quantized_to()).run([X], None, 1, None, out)


def test_halves_and_residuals_that_share_memory_are_refused():
    layer = layer_of(**quantized_to(bits=14))
    with pytest.raises(ValueError, match="out overlaps itself"):
        layer.run([X], None, 1, None, [BOTH[..., :4], BOTH[..., 3:7]])
    larger = np.zeros((1, 4, 4, 7), np.float32)
    with pytest.raises(ValueError, match="out overlaps residual"):
        layer_of().run([X], larger[..., :4], 1, None, larger[..., 3:])


def test_a_copy_of_packed_numbers_is_kept():
    layer = one()
    packed = _C.IntegerLayer(
        *(layer[name].numpy() for name in ("weight", "bias", "scale")),
        [half.numpy() for half in layer["border"]],
        1,
        1,
        "none",
        None,
    )
    layer["bias"] += 5
    assert (packed.run([X], None, 1) == 0).all()
