"""Functions of a program's nodes at the ends of what float32 holds, and where they are almost 0."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lic_fast import _C
from tests.engine.built import Built, numbers
from tests.engine.test_program import UNARY

SIZES = [0, 1e-45, 1e-42, 1.1754944e-38, 1e-30, 1e-8, 0.3, 1, 5.6, 6, 10, 17, 80, 86.5, 87, 87.5]
SIZES += [88, 88.6, 88.8, 89, 100, 103, 104, 1e4, 1e10, 1e19, 2e19, 1e30, 1e38, 3e38, 3.4028235e38]
EXTREMES = np.array([*SIZES, np.inf, *[-x for x in SIZES], -np.inf], np.float32)  # 64
LINE = np.append(EXTREMES, np.float32(np.nan)).reshape(1, 5, 13, 1)


def gelu(x):
    return torch.where(x == -torch.inf, 0.0, F.gelu(x))  # the limit, which torch misses


def rounded(x, bfloat16):
    return x.bfloat16().float() if bfloat16 else x


def check(found, expected, bfloat16):
    expected = rounded(expected, bfloat16)
    # Products of float32's least numbers are far below what they are added to.
    bounds = {"rtol": 1e-2, "atol": 1e-4} if bfloat16 else {"rtol": 3e-6, "atol": 2e-7}
    torch.testing.assert_close(
        torch.from_numpy(found), expected.expand(found.shape), equal_nan=True, **bounds
    )


everywhere = pytest.mark.parametrize("isa", _C.instruction_sets())
both = pytest.mark.parametrize("bfloat16", [False, True])


@everywhere
@both
@pytest.mark.parametrize("kind", UNARY)
def test_unary(isa, bfloat16, kind, monkeypatch):
    monkeypatch.setenv("LIC_FAST_ISA", isa)
    builder = _C.ProgramBuilder(bfloat16)
    program = Built(builder, [builder.unary(builder.input(1), kind, 0.3)], [1])
    function = gelu if kind == "gelu" else UNARY[kind]
    (out,) = program.run([LINE])
    check(out, function(rounded(torch.from_numpy(LINE), bfloat16)), bfloat16)


@everywhere
@both
@pytest.mark.parametrize("as_gate", [False, True])
def test_products_with_a_sigmoid(isa, bfloat16, as_gate, monkeypatch):
    monkeypatch.setenv("LIC_FAST_ISA", isa)
    builder = _C.ProgramBuilder(bfloat16)
    x, zero = builder.input(1), builder.input(1)
    if as_gate:
        out = builder.gate(x, x, zero)
    else:
        out = builder.binary(
            builder.binary(x, builder.unary(x, "sigmoid"), "multiply"), zero, "add"
        )
    (out,) = Built(builder, [out], [1]).run([LINE, np.zeros_like(LINE)])
    x = rounded(torch.from_numpy(LINE), bfloat16)
    check(out, x * rounded(torch.sigmoid(x), bfloat16), bfloat16)
    # In particular nothing, where a sigmoid that did not reach 0 would leave some of x.
    assert (out[(LINE < -90) & (LINE > -3e38)] == 0).all()


NODES = {
    "linear": (0, 1, 1),
    "1x1": (1, 1, 1),
    "1x1 of stride 2": (1, 2, 1),
    "3x3": (3, 1, 1),
    "3x3 of stride 2": (3, 2, 1),
    "5x5": (5, 1, 1),
    "3x3, shuffled": (3, 1, 2),
}


@everywhere
@both
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu"])
@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("channels", [3, 64])
def test_fused_activations(isa, bfloat16, activation, node, channels, monkeypatch):
    monkeypatch.setenv("LIC_FAST_ISA", isa)
    kernel, stride, shuffle = NODES[node]
    builder = _C.ProgramBuilder(bfloat16)
    x = builder.input(channels)
    # Sums of nothing, and biases of every kind.
    if kernel == 0:
        weight = np.zeros((64, channels), np.float32)
        out = builder.linear(x, weight, EXTREMES, activation)
    else:
        weight = np.zeros((64, channels, kernel, kernel), np.float32)
        padding = kernel // 2
        out = builder.conv2d(x, weight, EXTREMES, stride, padding, activation, None, shuffle)
    (out,) = Built(builder, [out], [64 // shuffle**2]).run([numbers((1, 18, 18, channels), 0)])
    if shuffle > 1:
        shape = (1, 18, shuffle, 18, shuffle, 64 // shuffle**2)
        out = out.reshape(shape).transpose(0, 1, 3, 2, 4, 5).reshape(1, 18, 18, 64)
    functions = {"relu": F.relu, "leaky_relu": F.leaky_relu, "gelu": gelu}
    check(out, functions[activation](torch.from_numpy(EXTREMES)), bfloat16)


@everywhere
@both
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu"])
def test_feed_forward(isa, bfloat16, activation, monkeypatch):
    monkeypatch.setenv("LIC_FAST_ISA", isa)
    bias = EXTREMES[np.abs(EXTREMES) < 1e4]
    hidden = len(bias)
    builder = _C.ProgramBuilder(bfloat16)
    first, second = np.zeros((hidden, 8), np.float32), np.eye(hidden, dtype=np.float32)
    nothing = np.zeros(hidden, np.float32)
    out = builder.feed_forward(builder.input(8), None, first, bias, activation, second, nothing)
    (out,) = Built(builder, [out], [hidden]).run([numbers((1, 5, 7, 8), 0)])
    functions = {"relu": F.relu, "leaky_relu": F.leaky_relu, "gelu": gelu}
    # As a sum of products, whose numbers may have 16 bits in all.
    expected = functions[activation](torch.from_numpy(bias)).expand(out.shape)
    bound = 2e-2 if bfloat16 else 1e-5
    torch.testing.assert_close(torch.from_numpy(out), expected, rtol=bound, atol=bound)
