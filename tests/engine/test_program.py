"""The nodes of programs against their definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lic_fast import _C, ops
from tests.engine.built import THREADS, Built, numbers


def rounded(x, bfloat16):
    """As the program's maps hold them."""
    return x.bfloat16().float() if bfloat16 else x


def check_node(add, definition, channels, outputs, bfloat16, size=(7, 5), tolerance=1e-5):
    """A node of maps with such channels against a function of tensors (B, H, W, C)."""
    builder = _C.ProgramBuilder(bfloat16)
    maps = [builder.input(c) for c in channels]
    program = Built(builder, [add(builder, *maps)], [outputs])
    inputs = [numbers((2, *size, c), i) for i, c in enumerate(channels)]
    (out,) = program.run(inputs)
    expected = definition(*(rounded(torch.from_numpy(x), bfloat16) for x in inputs))
    expected = rounded(expected, bfloat16)
    bound = 2e-2 if bfloat16 else tolerance
    torch.testing.assert_close(torch.from_numpy(out), expected, rtol=bound, atol=bound)


both = pytest.mark.parametrize("bfloat16", [False, True])

WEIGHT, BIAS = numbers((40, 24), 10, 0.2), numbers(40, 11)
SCALE, OFFSET = numbers(24, 12), numbers(24, 13)
BACK, BACK_BIAS = numbers((24, 40), 14, 0.2), numbers(24, 15)


def activated(x, activation):
    functions = {"relu": F.relu, "leaky_relu": F.leaky_relu, "gelu": F.gelu}
    return functions[activation](x) if activation != "none" else x


@both
@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu", "gelu"])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
def test_linear(bfloat16, activation, with_bias, with_norm, with_residual):
    def add(builder, x, residual=None):
        norm = (SCALE, OFFSET, 1e-5) if with_norm else None
        return builder.linear(x, WEIGHT, BIAS if with_bias else None, activation, residual, norm)

    def definition(x, residual=None):
        weights = [torch.from_numpy(w) for w in (WEIGHT, BIAS, SCALE, OFFSET)]
        if with_norm:
            x = F.layer_norm(x, (24,), weights[2], weights[3], 1e-5)
        out = F.linear(x, weights[0], weights[1] if with_bias else None)
        return activated(out if residual is None else out + residual, activation)

    check_node(add, definition, [24, 40] if with_residual else [24], 40, bfloat16)


@both
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 1), (5, 2, 2), (2, 2, 0)]
)
@pytest.mark.parametrize(("shuffle", "residual"), [(1, False), (2, False), (1, True), (2, True)])
def test_conv2d(bfloat16, kernel, stride, padding, shuffle, residual):
    weight, bias = numbers((24, 16, kernel, kernel), 1, 0.1), numbers(24, 2)

    def add(builder, x, y=None):
        # The residual has the result's size: it is made of the first input.
        return builder.conv2d(x, weight, bias, stride, padding, "leaky_relu", y, shuffle)

    def definition(x, y=None):
        out = F.conv2d(
            x.permute(0, 3, 1, 2), *map(torch.from_numpy, (weight, bias)), stride, padding
        )
        b, c, h, w = out.shape
        out = out.reshape(b, shuffle, shuffle, c // shuffle**2, h, w).permute(0, 4, 1, 5, 2, 3)
        out = out.reshape(b, h * shuffle, w * shuffle, c // shuffle**2)
        return F.leaky_relu(out if y is None else out + y)

    if not residual:
        check_node(add, definition, [16], 24 // shuffle**2, bfloat16, (8, 10))
    elif stride == 1 and kernel % 2 == 1:

        def with_residual(builder, x):
            y = builder.depth_to_space(builder.linear(x, weight[..., 0, 0].copy()), shuffle)
            return add(builder, x, y)

        def its_definition(x):
            y = rounded(F.linear(x, torch.from_numpy(weight[..., 0, 0])), bfloat16)
            b, h, w, c = y.shape
            y = y.view(b, h, w, shuffle, shuffle, c // shuffle**2).permute(0, 1, 3, 2, 4, 5)
            return definition(x, y.reshape(b, h * shuffle, w * shuffle, -1))

        check_node(with_residual, its_definition, [16], 24 // shuffle**2, bfloat16, (8, 10))


@both
@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("padded", [False, True])
def test_window_attention(bfloat16, shift, padded):
    table, pad = numbers((49, 3), 1), numbers(72, 2) if padded else None

    def definition(qkv):
        value = None if pad is None else torch.from_numpy(pad)
        return ops.window_attention(
            qkv, torch.from_numpy(table), window_size=4, shift=shift, scale=0.3, pad_value=value
        )

    check_node(
        lambda b, x: b.window_attention(x, table, pad, 4, shift, 0.3, -100.0),
        definition,
        [72],
        24,
        bfloat16,
        (10, 9),
    )


@both
@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize("residual_of_x", [False, True])
def test_feed_forward(bfloat16, with_norm, residual_of_x):
    def add(builder, x):
        norm = (SCALE, OFFSET, 1e-5) if with_norm else None
        residual = x if residual_of_x else None
        return builder.feed_forward(x, norm, WEIGHT, BIAS, "gelu", BACK, BACK_BIAS, residual)

    def definition(x):
        w1, b1, w2, b2, scale, offset = map(
            torch.from_numpy, (WEIGHT, BIAS, BACK, BACK_BIAS, SCALE, OFFSET)
        )
        hidden = F.layer_norm(x, (24,), scale, offset, 1e-5) if with_norm else x
        out = F.linear(F.gelu(F.linear(hidden, w1, b1)), w2, b2)
        return out + x if residual_of_x else out

    check_node(add, definition, [24], 24, bfloat16)


@both
@pytest.mark.parametrize("inverse", [False, True])
def test_gdn(bfloat16, inverse):
    gamma, beta = np.abs(numbers((24, 24), 1, 0.1)), np.abs(numbers(24, 2)) + 0.1

    def definition(x):
        norm = torch.sqrt(F.linear(x * x, torch.from_numpy(gamma), torch.from_numpy(beta)))
        return x * norm if inverse else x / norm

    check_node(lambda b, x: b.gdn(x, gamma, beta, inverse), definition, [24], 24, bfloat16)


@both
@pytest.mark.parametrize("channels", [1, 24, 37])
def test_layer_norm(bfloat16, channels):
    weight, bias = numbers(channels, 1), numbers(channels, 2)

    def definition(x):
        return F.layer_norm(x, (channels,), *map(torch.from_numpy, (weight, bias)), 1e-5)

    check_node(
        lambda b, x: b.layer_norm(x, weight, bias, 1e-5), definition, [channels], channels, bfloat16
    )


UNARY = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "square": torch.square,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "negate": torch.neg,
    "scale": lambda x: x * 0.3,
    "shift": lambda x: x + 0.3,
}


@both
@pytest.mark.parametrize("channels", [3, 24])
@pytest.mark.parametrize("kind", UNARY)
def test_unary(bfloat16, channels, kind):
    def add(builder, x):
        return builder.unary(builder.unary(x, "abs") if kind == "sqrt" else x, kind, 0.3)

    def definition(x):
        return UNARY[kind](x.abs() if kind == "sqrt" else x)

    check_node(add, definition, [channels], channels, bfloat16)


@pytest.mark.parametrize("isa", _C.instruction_sets())
def test_unary_of_special_numbers(isa, monkeypatch):
    monkeypatch.setenv("LIC_FAST_ISA", isa)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, 100.0, -100.0], np.float32)
    x = np.tile(special, 5).reshape(1, 4, 5, 2)
    for kind, function in UNARY.items():
        builder = _C.ProgramBuilder(False)
        program = Built(builder, [builder.unary(builder.input(2), kind, 0.3)], [2])
        (out,) = program.run([x])
        expected = function(torch.from_numpy(x))
        if kind == "gelu":
            expected[torch.from_numpy(x) == -np.inf] = 0  # the limit, which torch misses
        torch.testing.assert_close(
            torch.from_numpy(out), expected, rtol=1e-6, atol=1e-30, equal_nan=True
        )


BINARY = {
    "add": lambda x, y: x + 0.3 * y,
    "multiply": torch.multiply,
    "divide": lambda x, y: x / y,
    "subtract": torch.subtract,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}


@both
@pytest.mark.parametrize("channels", [3, 24])
@pytest.mark.parametrize("kind", BINARY)
def test_binary(bfloat16, channels, kind):
    check_node(
        lambda b, x, y: b.binary(x, y, kind, 0.3), BINARY[kind], [channels] * 2, channels, bfloat16
    )


def test_the_maximum_with_a_nan_is_one():
    x = np.array([1.0, np.nan, np.nan, 2.0], np.float32).reshape(1, 1, 1, 4)
    y = np.array([np.nan, 1.0, np.nan, 1.0], np.float32).reshape(1, 1, 1, 4)
    for kind in ("maximum", "minimum"):
        builder = _C.ProgramBuilder(False)
        out = builder.binary(builder.input(4), builder.input(4), kind)
        (result,) = Built(builder, [out], [4]).run([x, y])
        assert np.isnan(result).ravel().tolist() == [True, True, True, False]


@both
def test_gate(bfloat16):
    check_node(
        lambda b, x, y, z: b.gate(x, y, z),
        lambda x, y, z: x * torch.sigmoid(y) + z,
        [5, 5, 5],
        5,
        bfloat16,
    )


@both
@pytest.mark.parametrize("r", [1, 2, 3])
@pytest.mark.parametrize("order", ["rows_first", "columns_first"])
def test_space_to_depth(bfloat16, r, order):
    def definition(x):
        parts = [(i, j) for i in range(r) for j in range(r)]
        if order == "columns_first":
            parts = [(j, i) for i, j in parts]
        return torch.cat([x[:, i::r, j::r] for i, j in parts], -1)

    check_node(
        lambda b, x: b.space_to_depth(x, r, order), definition, [5], 5 * r * r, bfloat16, (12, 6)
    )


@both
@pytest.mark.parametrize("r", [1, 2, 3])
def test_depth_to_space(bfloat16, r):
    def definition(x):
        b, h, w, c = x.shape
        parts = x.view(b, h, w, r, r, c // (r * r))
        return parts.permute(0, 1, 3, 2, 4, 5).reshape(b, h * r, w * r, c // (r * r))

    check_node(lambda b, x: b.depth_to_space(x, r), definition, [5 * r * r], 5, bfloat16)


@both
def test_split_and_concat(bfloat16):
    def add(builder, x, y):
        first, second = builder.split(x, 0, 3), builder.split(x, 3, 4)
        doubled = builder.unary(second, "scale", 2.0)
        whole = builder.concat([doubled, first, y, doubled])
        # Parts of it are still maps, also those that were written to their places.
        negative = builder.unary(doubled, "negate")
        return builder.concat([whole, negative, builder.split(whole, 2, 5)])

    def definition(x, y):
        first, doubled = x[..., :3], 2 * x[..., 3:]
        whole = torch.cat([doubled, first, y, doubled], -1)
        return torch.cat([whole, -doubled, whole[..., 2:7]], -1)

    check_node(add, definition, [7, 2], 13 + 4 + 5, bfloat16)


def test_inputs_and_outputs_have_any_strides():
    builder = _C.ProgramBuilder(False)
    x = builder.input(3)
    program = Built(builder, [builder.unary(x, "scale", 2.0)], [3])
    image = numbers((2, 6, 40, 3), 0)
    planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    wide = np.zeros((2, 6, 80, 6), np.float32)
    wide[:, :, ::2, 1:4] = image
    single = np.broadcast_to(image[..., :1], image.shape)
    for x in (image, planes.transpose(0, 2, 3, 1), wide[:, :, ::2, 1:4], single):
        for into in ("dense", "planes", "wide"):
            memory = np.full((2, 3, 6, 40) if into == "planes" else (2, 6, 80, 6), 7.0, np.float32)
            out = memory[:, :, ::2, 1:4] if into == "wide" else memory[:, :, :40, :3].copy()
            if into == "planes":
                out = memory.transpose(0, 2, 3, 1)
            program.program.run([x], [out], THREADS, 2)
            np.testing.assert_array_equal(out, 2 * x)
            if into == "wide":
                assert (memory[:, :, 1::2] == 7).all()
                assert (memory[..., [0, 4, 5]] == 7).all()
