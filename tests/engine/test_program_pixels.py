"""Programs of pixels: uint8 in and out, padded and cut by the program, bit for bit as defined."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C
from tests.engine.built import numbers

NO_PADDING = (0, 0, 0, 0)


def divided(pixels, padding=NO_PADDING):
    """What an input of pixels is, (B, H, W, 3) float32."""
    left, top, right, bottom = padding
    padded = np.pad(pixels, ((0, 0), (top, bottom), (left, right), (0, 0)), mode="edge")
    return torch.from_numpy(padded).float().div(255).numpy()


def rounded(x, padding=NO_PADDING):
    """What an output of pixels is, of finite numbers (B, H, W, 3)."""
    left, top, right, bottom = padding
    x = torch.from_numpy(np.ascontiguousarray(x)).float()
    x = x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
    return (x * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def picture(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def same(bfloat16, pixel_input=True, pixel_output=True):
    """The program that computes nothing."""
    builder = _C.ProgramBuilder(bfloat16)
    x = builder.pixels() if pixel_input else builder.input(3)
    return builder.build([x], pixels=pixel_output)


def network(builder, x, wide):
    """Of halos, a stride, a map that is part of another one, and results from -0.2 to 1.2."""
    a = builder.conv2d(x, numbers((16, 3, 3, 3), 1, 0.3), numbers(16, 2), 2, 1, "gelu")
    a = builder.conv2d(a, numbers((12, 16, 5, 5), 3, 0.1), numbers(12, 4), 1, 2, "none", None, 2)
    both = builder.concat([x, a]) if wide else a
    picture = builder.split(both, 1, 3) if wide else a
    scaled = builder.unary(builder.unary(picture, "tanh"), "scale", 0.7)
    return builder.unary(scaled, "shift", 0.5), picture


def run_pixels(program, inputs, outputs, threads, band_rows, padding):
    """The results, where outputs are shapes, and whether all was finite."""
    out = [np.full(shape, 99, np.uint8) for shape in outputs]
    return out, program.run(inputs, out, threads, band_rows, padding)


@settings(max_examples=60, deadline=None)
@given(
    st.booleans(),
    st.booleans(),
    st.tuples(*[st.integers(1, 40)] * 2),
    st.tuples(*[st.integers(0, 33)] * 4),
    st.integers(0, 2),
    st.integers(1, 50),
    st.integers(1, 3),
)
def test_pixels_are_what_they_are_defined_as(
    bfloat16, wide, size, padding, batch, band_rows, threads
):
    left, top, right, bottom = padding
    # Both sides even, for the stride.
    height, width = size[0] + (size[0] + top + bottom) % 2, size[1] + (size[1] + left + right) % 2
    pixels = picture(batch, height, width)

    def build(pixel_input, pixel_output):
        builder = _C.ProgramBuilder(bfloat16)
        x = builder.pixels() if pixel_input else builder.input(3)
        return builder.build(list(network(builder, x, wide)), pixels=pixel_output)

    padded = divided(pixels, padding)
    expected = [np.full(padded.shape, np.nan, np.float32) for _ in range(2)]
    assert build(False, False).run([padded], expected, 1, 1000)
    out = [np.full(padded.shape, np.nan, np.float32) for _ in range(2)]
    assert build(True, False).run([pixels], out, threads, band_rows, padding)
    np.testing.assert_array_equal(out, expected)

    shapes = [pixels.shape] * 2
    for program, given_input in ((build(True, True), pixels), (build(False, True), padded)):
        found, finite = run_pixels(program, [given_input], shapes, threads, band_rows, padding)
        assert finite
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_array_equal(x, rounded(y, padding))


def test_every_byte_is_a_quotient_and_comes_back():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    quotients = (np.arange(256) / np.float32(255)).astype(np.float32).repeat(3)
    out = np.empty((1, 16, 16, 3), np.float32)
    same(False, pixel_output=False).run([pixels], [out], 1)
    np.testing.assert_array_equal(out.ravel(), quotients)
    same(True, pixel_output=False).run([pixels], [out], 1)
    np.testing.assert_array_equal(
        out.ravel(), torch.from_numpy(quotients).bfloat16().float().numpy()
    )
    (back,), finite = run_pixels(same(False), [pixels], [pixels.shape], 1, 0, NO_PADDING)
    assert finite
    np.testing.assert_array_equal(back, pixels)


def edges(bfloat16):
    """Finite numbers (1, N, 8, 3): all kinds, and those around the ones that are ties."""
    if bfloat16:
        bits = np.arange(2**16, dtype=np.uint32) << 16
    else:
        random = np.random.default_rng(0).integers(0, 2**32, 2**18, dtype=np.uint64)
        ties = ((np.arange(-8, 520) / 2) / np.float32(255)).astype(np.float32)
        near = (ties.view(np.uint32)[:, None] + np.arange(-4, 5)).ravel()
        small = np.array([0, 1, 0x7FFFFF, 0x800000], np.uint64)
        special = np.concatenate(
            [small, small + 0x80000000, 0x7F7FFFFF - small, 0xFF7FFFFF - small]
        )
        bits = np.concatenate([random, near.astype(np.uint64), special]).astype(np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x)]
    return np.resize(x, (1, len(x) // 24 + 1, 8, 3))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_rounding_is_that_of_pytorch(bfloat16):
    x = edges(bfloat16)
    (out,), finite = run_pixels(same(bfloat16, False), [x], [x.shape], 2, 0, NO_PADDING)
    assert finite
    held = torch.from_numpy(x).bfloat16().float().numpy() if bfloat16 else x
    np.testing.assert_array_equal(out, rounded(held))
    # As the models do, which clamp before.
    clamped = (torch.from_numpy(held).clamp(0, 1) * 255).round().to(torch.uint8)
    np.testing.assert_array_equal(out, clamped.numpy())
    assert len(np.unique(out)) == 256


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", [(0, 0, 0), (3, 4, 1), (8, 10, 2), (8, 0, 1), (0, 10, 0)])
@pytest.mark.parametrize("wide", [False, True])
def test_numbers_that_are_not_finite_are_noted_also_in_the_padding(bfloat16, number, where, wide):
    builder = _C.ProgramBuilder(bfloat16)
    x = builder.input(3)
    out = builder.split(builder.concat([x, builder.unary(x, "abs")]), 0, 3) if wide else x
    program = builder.build([out], pixels=True)
    for batch in range(2):
        x = np.full((2, 9, 11, 3), 0.5, np.float32)
        padding, shape = (2, 1, 3, 2), (2, 6, 6, 3)
        assert run_pixels(program, [x], [shape], 2, 2, padding)[1]
        x[(batch, *where)] = number
        (found,), finite = run_pixels(program, [x], [shape], 2, 2, padding)
        assert finite is False
        at = np.isfinite(x[:, 1:-2, 2:-3])
        assert (found[at] == 128).all()


def test_pixels_have_any_strides():
    program = same(False)
    pixels = picture(2, 6, 40)
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    wide = np.zeros((2, 6, 80, 6), np.uint8)
    wide[:, :, ::2, 1:4] = pixels
    grey = np.broadcast_to(pixels[..., :1], pixels.shape)
    for x in (pixels, planes, wide[:, :, ::2, 1:4], grey, pixels[:, :1], pixels[:, :, :1]):
        for padding in (NO_PADDING, (3, 1, 2, 5)):
            shape = (2, x.shape[1], x.shape[2], 3)
            dense = np.zeros(shape, np.uint8)
            by_planes = np.zeros((2, 3, *shape[1:3]), np.uint8).transpose(0, 2, 3, 1)
            memory = np.full((2, shape[1], 2 * shape[2], 6), 7, np.uint8)
            for out in (dense, by_planes, memory[:, :, ::2, 1:4]):
                assert program.run([x], [out], 3, 2, padding)
                np.testing.assert_array_equal(out, x)
            assert (memory[:, :, 1::2] == 7).all()
            assert (memory[..., [0, 4, 5]] == 7).all()


class Rows:
    """A picture as functions, which say how they were called."""

    def __init__(self, pixels):
        self.pixels, self.calls, self.arrays = pixels, [], []

    def note(self, first, array):
        assert array.dtype == np.uint8
        assert array.shape[1:] == self.pixels.shape[1:]
        self.calls.append((first, len(array)))
        self.arrays.append(array)

    def read(self, first, out):
        self.note(first, out)
        out[:] = self.pixels[first : first + len(out)]

    def write(self, first, array):
        self.note(first, array)
        self.pixels[first : first + len(array)] = array

    def follow(self):
        """The end of the rows, of which each call's begin where the last one's end."""
        end = 0
        for first, count in self.calls:
            assert first == end
            assert count > 0
            end += count
        return end


@settings(max_examples=40, deadline=None)
@given(
    st.booleans(),
    st.tuples(*[st.integers(1, 30)] * 2),
    st.tuples(*[st.integers(0, 20)] * 4),
    st.integers(1, 50),
    st.integers(1, 3),
)
def test_rows_from_and_to_functions_are_those_of_arrays(
    bfloat16, size, padding, band_rows, threads
):
    left, top, right, bottom = padding
    height, width = size[0] + (size[0] + top + bottom) % 2, size[1] + (size[1] + left + right) % 2
    pixels = picture(height, width)
    builder = _C.ProgramBuilder(bfloat16)
    program = builder.build([network(builder, builder.pixels(), False)[0]], pixels=True)
    expected = np.empty_like(pixels)
    program.run([pixels[None]], [expected[None]], 1, 0, padding)
    source, sink = Rows(pixels), Rows(np.zeros_like(pixels))
    given_input, taken = (height, width, source.read), (height, width, sink.write)
    assert program.run([given_input], [taken], threads, band_rows, padding)
    np.testing.assert_array_equal(sink.pixels, expected)
    assert source.follow() == height
    assert sink.follow() == height
    # What was handed in is the function's to keep.
    np.testing.assert_array_equal(np.concatenate(sink.arrays), expected)
    np.testing.assert_array_equal(np.concatenate(source.arrays), pixels)


def test_what_a_function_of_rows_raises_ends_the_run():
    program, pixels = same(False), picture(64, 8)
    calls = []

    def read(first, out):
        calls.append(first)
        if first >= 32:
            raise KeyError("rows")
        out[:] = pixels[first : first + len(out)]

    out = np.zeros((1, 64, 8, 3), np.uint8)
    with pytest.raises(KeyError, match="rows"):
        program.run([(64, 8, read)], [out], 2, 16)
    assert calls == [0, 16, 32]
    np.testing.assert_array_equal(out[0, :32], pixels[:32])

    def write(first, array):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        program.run([pixels[None]], [(64, 8, write)], 2, 16)
    # And the program is as good as before.
    assert program.run([pixels[None]], [out], 2, 16)
    np.testing.assert_array_equal(out[0], pixels)


class TestErrors:
    pixels, out = picture(1, 4, 5), np.zeros((1, 4, 5, 3), np.uint8)

    def check(self, message, call, error=ValueError):
        with pytest.raises(error, match=message):
            call()

    def test_of_arrays(self):
        x, out, program = self.pixels, self.out, same(False)
        run = program.run
        self.check("input 0 must be of uint8", lambda: run([divided(x)], [out], 1), TypeError)
        self.check("output 0 must be of uint8", lambda: run([x], [divided(x)], 1), TypeError)
        self.check("must be of uint8", lambda: run([x.view(np.int8)], [out], 1), TypeError)
        floats = same(False, pixel_input=False, pixel_output=False)
        self.check("must be of float32", lambda: floats.run([x], [divided(x)], 1), TypeError)
        self.check(r"must be \(batch, rows", lambda: run([x[0]], [out], 1))
        self.check("must have 3 channels", lambda: run([x[..., :2]], [out], 1))
        self.check(r"must be \(1, 4, 5, 3\)", lambda: run([x], [out[:, :3]], 1))
        self.check(r"must be \(1, 4, 5, 3\)", lambda: run([x], [out[..., :2]], 1))
        self.check(r"must be \(0, 4, 5, 3\)", lambda: run([x[:0]], [out], 1))
        self.check("0 x 5 pixels; a side", lambda: run([x[:, :0]], [out], 1, 0, (1, 1, 1, 1)))
        self.check("run backwards", lambda: run([x[:, ::-1]], [out], 1))
        overlapping = np.lib.stride_tricks.as_strided(out, out.shape, (0, 0, 0, 1))
        self.check("overlap", lambda: run([x], [overlapping], 1))
        huge = np.lib.stride_tricks.as_strided(x, (1, 2**40, 1, 3), (0, 0, 0, 1))
        self.check("a side must have", lambda: run([huge], [out], 1))
        fixed = out.copy()
        fixed.flags.writeable = False
        self.check("writeable", lambda: run([x], [fixed], 1))

    def test_of_padding(self):
        x, out, program = self.pixels, self.out, same(False)
        for side in range(4):
            for wrong in (-1, 2**31, 2**62, -(2**63)):
                padding = [0] * 4
                padding[side] = wrong
                self.check("padding must be", lambda p=padding: program.run([x], [out], 1, 0, p))
        for wrong in ((0, 0, 0), (0,) * 5, (0.5,) * 4, (2**64,) * 4, None):
            self.check("incompatible", lambda p=wrong: program.run([x], [out], 1, 0, p), TypeError)
        most = (2**31 - 1,) * 4
        self.check("is too large", lambda: program.run([x], [out], 1, 0, most))
        floats = same(False, pixel_input=False, pixel_output=False)
        self.check(
            "padding is of pixels",
            lambda: floats.run([divided(x)], [divided(x)], 1, 0, (0, 1, 0, 0)),
        )
        cut = same(False, pixel_input=False)
        for padding in ((5, 0, 0, 0), (2, 0, 3, 0), (0, 4, 0, 0), (0, 1, 0, 3), most):
            self.check(
                "all of which are padding",
                lambda p=padding: cut.run([divided(x)], [out], 1, 0, p),
            )
        builder = _C.ProgramBuilder(False)
        half = builder.conv2d(builder.pixels(), numbers((3, 3, 2, 2), 0), None, 2)
        program = builder.build([half], pixels=True)
        self.check(r"must be \(1, 1, 2, 3\)", lambda: program.run([x], [out], 1, 0, (1, 1, 0, 1)))

    def test_of_functions(self):
        x, out, program = self.pixels, self.out, same(False)
        rows = Rows(x[0].copy())
        wrong = (4, 5, lambda first, array: None)
        floats = same(False, pixel_input=False, pixel_output=False)
        maps = divided(x), divided(x)
        self.check("input 0 must be an array", lambda: floats.run([wrong], [maps[1]], 1))
        self.check("output 0 must be an array", lambda: floats.run([maps[0]], [wrong], 1))
        self.check("a side must have", lambda: program.run([(0, 5, rows.read)], [out], 1))
        self.check("a side must have", lambda: program.run([(2**31, 5, rows.read)], [out], 1))
        self.check(r"must be \(1, 4, 6, 3\)", lambda: program.run([(4, 6, rows.read)], [out], 1))
        self.check(r"of 1 of \(4, 5\)", lambda: program.run([x], [(5, 4, rows.write)], 1))
        two = np.concatenate([x, x])
        self.check("must be of 2 of", lambda: program.run([two], [(4, 5, rows.write)], 1))
        for given_input in ((4, 5, None), (4, 5), (-1, 5, rows.read), (4.5, 5, rows.read)):
            self.check("incompatible", lambda g=given_input: program.run([g], [out], 1), TypeError)
        self.check("positional", lambda: program.run([(4, 5, lambda: None)], [out], 1), TypeError)

        def resize(first, array):
            array.resize((1, 1, 3), refcheck=False)

        self.check("changed the array's size", lambda: program.run([(4, 5, resize)], [out], 1))
        builder = _C.ProgramBuilder(False)
        both = builder.build([builder.concat([builder.pixels(), builder.pixels()])])
        six = np.zeros((2, 4, 5, 6), np.float32)
        self.check("one batch size", lambda: both.run([two, (4, 5, rows.read)], [six], 1))

    def test_of_builders(self):
        builder = _C.ProgramBuilder(False)
        x = builder.pixels()
        wide = builder.concat([x, builder.input(1)])
        self.check("output 1 has 4 channels", lambda: builder.build([x, wide], pixels=True))
        builder.build([wide])
        self.check("has been built", builder.pixels)
