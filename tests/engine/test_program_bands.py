"""Programs in bands of rows: the bits of one band, in little memory, from several threads."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C
from tests.engine.built import Built, numbers

WIDTHS = (8, 16, 32)


class Graph:
    """A random network: blocks one after another as in the models, and what they skip."""

    def __init__(self, draw, bfloat16):
        self.draw, self.builder, self.seed = draw, _C.ProgramBuilder(bfloat16), 0
        channels = draw(st.sampled_from([3, 16]))
        self.maps = [(self.builder.input(channels), channels, 0)]  # map, channels, halvings
        for _ in range(draw(st.integers(1, 7))):
            self.maps.append(draw(st.sampled_from(BLOCKS))(self, *self.maps[-1]))
        last = [self.maps[-1]]
        if draw(st.booleans()):
            last.append(draw(st.sampled_from(self.maps)))
        self.program = Built(self.builder, [m for m, _, _ in last], [c for _, c, _ in last])

    def weight(self, *shape):
        self.seed += 1
        return numbers(shape, self.seed, float(np.prod(shape[1:])) ** -0.5)

    def width(self):
        return self.draw(st.sampled_from(WIDTHS))

    def activation(self):
        return self.draw(st.sampled_from(["none", "relu", "leaky_relu", "gelu"]))

    def norm(self, c):
        return self.weight(c), self.weight(c), 1e-5

    def conv(self, x, c, level):
        kernel, stride = self.draw(st.sampled_from([(3, 1), (5, 1), (3, 2), (5, 2), (2, 2)]))
        if level == 2:
            stride = 1
            kernel = 3 if kernel == 2 else kernel
        out = self.width()
        weight = self.weight(out, c, kernel, kernel)
        padding = 0 if kernel == 2 else kernel // 2
        y = self.builder.conv2d(x, weight, self.weight(out), stride, padding, self.activation())
        return y, out, level + stride - 1

    def wide_conv(self, x, c, level):
        """Of channels for which Winograd is used."""
        a = self.builder.conv2d(x, self.weight(48, c, 3, 3), None, 1, 1, "leaky_relu")
        return self.builder.conv2d(a, self.weight(48, 48, 3, 3), None, 1, 1), 48, level

    def residual(self, x, c, level):
        a = self.builder.conv2d(x, self.weight(16, c, 3, 3), None, 1, 1, "relu")
        return self.builder.conv2d(a, self.weight(c, 16, 3, 3), None, 1, 1, "none", x), c, level

    def up(self, x, c, level):
        if level == 0:
            return self.conv(x, c, level)
        weight, bias = self.weight(4 * 16, c, 3, 3), self.weight(64)
        y = self.builder.conv2d(x, weight, bias, 1, 1, self.activation(), None, 2)
        return y, 16, level - 1

    def transformer(self, x, c, level):
        heads, b = 2, self.builder
        width = 16
        qkv = b.linear(
            x, self.weight(3 * width, c), self.weight(3 * width), "none", None, self.norm(c)
        )
        shift, pad = self.draw(st.integers(0, 3)), self.weight(3 * width)
        a = b.window_attention(qkv, self.weight(49, heads), pad, 4, shift, 0.3, -100.0)
        y = b.linear(a, self.weight(c, width), self.weight(c), "none", x)
        hidden = self.weight(20, c), self.weight(20), "gelu", self.weight(c, 20), self.weight(c)
        return b.feed_forward(y, self.norm(c), *hidden, y), c, level

    def gdn(self, x, c, level):
        gamma, beta = np.abs(self.weight(c, c)), np.abs(self.weight(c)) + 0.1
        return self.builder.gdn(x, gamma, beta, self.draw(st.booleans())), c, level

    def gate(self, x, c, level):
        b = self.builder
        values = b.conv2d(x, self.weight(c, c, 3, 3), None, 1, 1)
        logits = b.linear(x, self.weight(c, c))
        return b.gate(values, logits, x), c, level

    def shuffles(self, x, c, level):
        if level == 2:
            return self.gdn(x, c, level)
        b = self.builder
        merged = b.layer_norm(
            b.space_to_depth(x, 2, "columns_first"), self.weight(4 * c), self.weight(4 * c), 1e-5
        )
        return b.linear(merged, self.weight(8, 4 * c)), 8, level + 1

    def halves(self, x, c, level):
        """A transformer's and a convolution's half of the channels, as in TCM."""
        b, half = self.builder, c // 2
        if half == 0:
            return self.conv(x, c, level)
        a, rest = b.split(x, 0, half), b.split(x, half, c - half)
        a = b.conv2d(a, self.weight(half, half, 3, 3), None, 1, 1, "none", a)
        rest = b.unary(rest, self.draw(st.sampled_from(["sigmoid", "tanh", "abs", "negate"])))
        both = b.concat([a, rest])
        return b.linear(both, self.weight(c, c), None, "none", x), c, level

    def skip(self, x, c, level):
        """What was before, once more."""
        b = self.builder
        others = [(m, n) for m, n, other in self.maps if other == level]
        other, n = self.draw(st.sampled_from(others))
        if n == c and self.draw(st.booleans()):
            kind = self.draw(st.sampled_from(["add", "subtract", "multiply", "maximum"]))
            return b.binary(x, other, kind), c, level
        return b.concat([x, other, x]), 2 * c + n, level


BLOCKS = (
    Graph.conv,
    Graph.wide_conv,
    Graph.residual,
    Graph.up,
    Graph.transformer,
    Graph.gdn,
    Graph.gate,
    Graph.shuffles,
    Graph.halves,
    Graph.skip,
)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.booleans())
def test_bands_and_threads_change_no_bit(data, bfloat16):
    graph = Graph(data.draw, bfloat16)
    height = 4 * data.draw(st.integers(1, 16))
    width = 4 * data.draw(st.integers(1, 8))
    image = numbers((1, height, width, graph.maps[0][1]), 0)
    rows = graph.program.program.output_sizes(height, width)[0][0]
    whole = graph.program.run([image], 1, rows)
    assert all(np.isfinite(x).all() for x in whole)
    for band_rows in {1, 2, data.draw(st.integers(1, rows)), 0}:
        threads = data.draw(st.integers(1, 3))
        for found, expected in zip(
            graph.program.run([image], threads, band_rows), whole, strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def convolutions(bfloat16=False, count=6, width=16):
    """A tall chain, twice halved and twice doubled."""
    builder = _C.ProgramBuilder(bfloat16)
    x = builder.conv2d(builder.input(3), numbers((width, 3, 3, 3), 1, 0.2), None, 1, 1)
    for i in range(count):
        weight = numbers((width, width, 3, 3), 10 + i, 0.1)
        x = builder.conv2d(x, weight, None, 1, 1, "leaky_relu", x)
    for i in range(2):
        x = builder.conv2d(x, numbers((width, width, 5, 5), 20 + i, 0.1), None, 2, 2, "relu")
    for i in range(2):
        weight = numbers((4 * width, width, 3, 3), 30 + i, 0.1)
        x = builder.conv2d(x, weight, None, 1, 1, "none", None, 2)
    x = builder.linear(x, numbers((3, width), 40, 0.2))
    return Built(builder, [x], [3])


def test_memory_grows_with_the_band_and_not_with_the_height():
    program = convolutions().program
    map_bytes = 4000 * 64 * 16 * 4
    whole = program.memory(4000, 64, 1, 4000)
    assert whole >= 2 * map_bytes
    banded = program.memory(4000, 64, 1, 16)
    assert banded < whole / 20
    assert program.memory(8000, 64, 1, 16) == banded
    # Of itself it takes bands, too, where maps are large, and not where they are small, nor where
    # they would need more memory than the whole.
    assert program.memory(100000, 64, 1) < program.memory(100000, 64, 1, 100000) / 5
    for height in range(1000, 41000, 4000):
        assert program.memory(height, 64, 1) <= program.memory(height, 64, 1, height)
    assert program.memory(64, 64, 1) == program.memory(64, 64, 1, 64)


def test_the_environment_says_how_many_rows_a_band_has(monkeypatch):
    program, image = convolutions(), numbers((1, 512, 16, 3), 0)
    expected = program.run([image])
    whole = program.program.memory(512, 16, 1)
    monkeypatch.setenv("LIC_FAST_BAND_ROWS", "4")
    assert program.program.memory(512, 16, 1) < whole
    np.testing.assert_array_equal(program.run([image]), expected)
    monkeypatch.setenv("LIC_FAST_BAND_ROWS", "few")
    with pytest.raises(ValueError, match="LIC_FAST_BAND_ROWS"):
        program.run([image])


@pytest.mark.parametrize("bfloat16", [False, True])
def test_calls_from_several_threads_are_separate(bfloat16):
    program = convolutions(bfloat16)
    images = [numbers((2, 32, 16 + 8 * i, 3), i) for i in range(4)]
    expected = [program.run([image], 1) for image in images]
    wrong = []

    def call(i):
        for band_rows in (4, 8, 32, 5):
            if not np.array_equal(program.run([images[i]], 2, band_rows), expected[i]):
                wrong.append((i, band_rows))

    callers = [threading.Thread(target=call, args=(i % 4,)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_an_image_of_a_batch_is_what_it_is_alone():
    program, images = convolutions(), numbers((3, 24, 20, 3), 0)
    (together,) = program.run([images])
    for i in range(3):
        np.testing.assert_array_equal(together[i : i + 1], program.run([images[i : i + 1]])[0])
    assert program.run([images[:0]])[0].shape == (0, 24, 20, 3)


def test_outputs_of_several_sizes_and_inputs_that_are_outputs():
    builder = _C.ProgramBuilder(False)
    x = builder.input(4)
    half = builder.conv2d(x, numbers((8, 4, 5, 5), 1), None, 2, 2)
    quarter = builder.conv2d(half, numbers((8, 8, 5, 5), 2), None, 2, 2)
    outputs = [quarter, x, half, builder.split(half, 2, 3), half]
    program = Built(builder, outputs, [8, 4, 8, 3, 8])
    assert program.program.output_sizes(64, 48) == [(16, 12), (64, 48), *[(32, 24)] * 3]
    image = numbers((1, 64, 48, 4), 0)
    whole = program.run([image], 1, 16)
    np.testing.assert_array_equal(whole[1], image)
    np.testing.assert_array_equal(whole[3], whole[2][..., 2:5])
    for found, expected in zip(program.run([image], 2, 1), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_describe():
    builder = _C.ProgramBuilder(False)
    x = builder.input(3)
    y = builder.space_to_depth(x, 2)
    builder.unary(y, "exp")  # which no output needs
    program = builder.build([builder.linear(y, numbers((5, 12), 0))])
    assert program.describe(8, 6) == [
        ("space_to_depth", "copy", (4, 3, 12)),
        ("linear", "floats", (4, 3, 5)),
    ]


class TestErrors:
    def check(self, message, call, error=ValueError):
        with pytest.raises(error, match=message):
            call()

    def test_of_graphs(self):
        b = _C.ProgramBuilder(False)
        x, weight, bias = b.input(4), numbers((6, 4), 0), numbers(6, 0)
        self.check("there is no map 7", lambda: b.unary(7, "relu"))
        self.check("must have channels", lambda: b.input(0))
        self.check("of a map of 4 channels", lambda: b.split(x, 2, 3))
        self.check("must have parts", lambda: b.concat([]))
        self.check("the kind is 'cube'", lambda: b.unary(x, "cube"))
        self.check("the kind is 'power'", lambda: b.binary(x, x, "power"))
        self.check("y has 3 channels", lambda: b.binary(x, b.split(x, 0, 3), "add"))
        self.check("the activation must be", lambda: b.linear(x, weight, None, "selu"))
        self.check("x has 4 channels; it must have 6", lambda: b.linear(x, weight.T.copy()))
        self.check(r"the bias is \(4,\)", lambda: b.linear(x, weight, bias[:4]))
        self.check("the residual has 4", lambda: b.linear(x, weight, bias, "none", x))
        self.check("norm's weight", lambda: b.linear(x, weight, norm=(bias, bias, 1e-5)))
        self.check("w2 is", lambda: b.feed_forward(x, None, weight, None, "gelu", weight, None))
        self.check("gamma is", lambda: b.gdn(x, weight, bias, False))
        self.check("the norm's bias is", lambda: b.layer_norm(x, weight[0], bias, 1e-5))
        self.check("order", lambda: b.space_to_depth(x, 2, "any"))
        self.check("4 channels are not", lambda: b.depth_to_space(x, 3))
        self.check("sides of 1 to 64", lambda: b.depth_to_space(x, 0))
        self.check("the table is", lambda: b.window_attention(x, weight, None, 2, 0, 1.0, 0.0))
        self.check("kernel must be square", lambda: b.conv2d(x, numbers((6, 4, 3, 1), 0)))
        self.check("shuffle", lambda: b.conv2d(x, numbers((6, 4, 3, 3), 0), shuffle=2))
        self.check("shuffle", lambda: b.conv2d(x, numbers((6, 4, 3, 3), 0), shuffle=0))
        self.check("incompatible", lambda: b.linear(x, weight.astype(np.float64)), TypeError)
        self.check("incompatible", lambda: b.linear(x, weight[::2]), TypeError)
        self.check("must have outputs", lambda: b.build([]))
        b.build([x])
        self.check("has been built", lambda: b.input(1))

    def test_of_sizes(self):
        b = _C.ProgramBuilder(False)
        x = b.input(4)
        program = b.build([b.concat([x, b.space_to_depth(x, 2)])])
        self.check("cannot be parts of one", lambda: program.output_sizes(4, 4))
        self.check("are not blocks of 2 x 2", lambda: program.output_sizes(4, 3))
        self.check("every map must have some", lambda: program.output_sizes(0, 4))

    def test_of_calls(self):
        b = _C.ProgramBuilder(False)
        program = b.build([b.unary(b.input(4), "relu")])
        x, out = numbers((1, 4, 5, 4), 0), np.empty((1, 4, 5, 4), np.float32)
        self.check("1 inputs and 1 outputs", lambda: program.run([x, x], [out], 1))
        self.check("must be of float32", lambda: program.run([x.astype(int)], [out], 1), TypeError)
        self.check("input 0 must be", lambda: program.run([x[0]], [out], 1))
        self.check("it must have 4 channels", lambda: program.run([x[..., :3]], [out], 1))
        self.check(r"it must be \(1, 4, 5, 4\)", lambda: program.run([x], [out[:, :3]], 1))
        self.check("run backwards", lambda: program.run([x[:, ::-1]], [out], 1))
        overlapping = np.lib.stride_tricks.as_strided(out, out.shape, (0, 0, 0, 4))
        self.check("overlap", lambda: program.run([x], [overlapping], 1))
        out.flags.writeable = False
        self.check("writeable", lambda: program.run([x], [out], 1))
