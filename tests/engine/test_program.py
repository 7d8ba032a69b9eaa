"""Programs against the definitions of their nodes, and in bands."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C

THREADS = 3


def numbers(shape, seed, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def run(program, inputs, threads=THREADS, band_rows=0):
    """Outputs of images (B, H, W, C)."""
    sizes = program.output_sizes(*inputs[0].shape[1:3])
    channels = program.channels
    outputs = [
        np.full((len(inputs[0]), *size, c), np.nan, np.float32)
        for size, c in zip(sizes, channels, strict=True)
    ]
    program.program.run(inputs, outputs, threads, band_rows)
    return outputs


class Built:
    """A program with the channels of its outputs."""

    def __init__(self, builder, outputs, channels):
        self.program, self.channels = builder.build(outputs), channels

    def output_sizes(self, height, width):
        return self.program.output_sizes(height, width)


def rounded(x, bfloat16):
    """As the program's maps hold them."""
    return x.bfloat16().float() if bfloat16 else x


def check_node(add, definition, channels, outputs, bfloat16, size=(7, 5), tolerance=1e-5):
    """A node of maps with such channels against a function of tensors (B, H, W, C)."""
    builder = _C.ProgramBuilder(bfloat16)
    maps = [builder.input(c) for c in channels]
    program = Built(builder, [add(builder, *maps)], [outputs])
    inputs = [numbers((2, *size, c), i) for i, c in enumerate(channels)]
    (out,) = run(program, inputs)
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
        (out,) = run(program, [x])
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
        (result,) = run(Built(builder, [out], [4]), [x, y])
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
    for given in (image, planes.transpose(0, 2, 3, 1), wide[:, :, ::2, 1:4], single):
        for into in ("dense", "planes", "wide"):
            memory = np.full((2, 3, 6, 40) if into == "planes" else (2, 6, 80, 6), 7.0, np.float32)
            out = memory[:, :, ::2, 1:4] if into == "wide" else memory[:, :, :40, :3].copy()
            if into == "planes":
                out = memory.transpose(0, 2, 3, 1)
            program.program.run([given], [out], THREADS, 2)
            np.testing.assert_array_equal(out, 2 * given)
            if into == "wide":
                assert (memory[:, :, 1::2] == 7).all()
                assert (memory[..., [0, 4, 5]] == 7).all()
