"""Direct convolutions: csrc/direct beside the definition in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, rans
from tests.ops.arrays import ACTIVATIONS, activated, array

ISAS = rans.instruction_sets()
# Of sums of some thousand products in float32, for normal numbers.
ABSOLUTE = 2e-5


def check(actual, expected):
    """Products and sums are float32, and only the result is rounded to bfloat16."""
    limit = ABSOLUTE * max(1.0, expected.abs().max().item())
    rounding = 2.0**-8 if actual.dtype == torch.bfloat16 else 0.0
    torch.testing.assert_close(actual.double(), expected, rtol=rounding, atol=limit)


def poisoned(shape, gap, dtype):
    """(B, H, W, C) whose pixels lie `gap` numbers apart."""
    *sides, channels = shape
    return torch.full((*sides, channels + gap), float("nan"), dtype=dtype)[..., :channels]


def definition(x, weight, bias, stride, padding, shuffle=1):
    """(B, H, W, N) to (B, r * H', r * W', M) in float64, from channels (r, r, M)."""
    moved = x.double().permute(0, 3, 1, 2)
    out = F.conv2d(moved, weight.double(), bias.double(), stride=stride, padding=padding)
    out = out.unflatten(1, (shuffle, shuffle, -1))  # B, r, r, M, H', W'
    return out.permute(0, 4, 1, 5, 2, 3).flatten(3, 4).flatten(1, 2)


@st.composite
def convolutions(draw):
    kernel = draw(st.integers(1, 5))
    padding = draw(st.integers(0, 3))
    least = max(1, kernel - 2 * padding)
    return {
        "kernel": kernel,
        "stride": draw(st.integers(1, 3)),
        "padding": padding,
        "shuffle": draw(st.integers(1, 2)),
        "batch": draw(st.integers(1, 2)),
        "height": draw(st.integers(least, 20)),
        "width": draw(st.integers(least, 110)),
        "inputs": draw(st.integers(1, 70)),
        "outputs": draw(st.one_of(st.integers(1, 4), st.integers(5, 90))),
        "gap": draw(st.sampled_from([0, 3])),
        "residual": draw(st.booleans()),
        "activation": draw(st.sampled_from(ACTIVATIONS)),
        "dtype": draw(st.sampled_from([torch.float32, torch.bfloat16])),
        "seed": draw(st.integers(0, 2**31)),
    }


class Example:
    """Maps and packed weights of a drawn convolution."""

    def __init__(self, drawn):
        generator = torch.Generator().manual_seed(drawn["seed"])

        def normal(*shape):
            return torch.randn(shape, generator=generator)

        kernel, inputs, gap = drawn["kernel"], drawn["inputs"], drawn["gap"]
        self.dtype, self.gap = drawn["dtype"], gap
        shape = drawn["batch"], drawn["height"], drawn["width"], inputs
        self.x = poisoned(shape, gap, self.dtype).copy_(normal(*shape))
        every = drawn["outputs"] * drawn["shuffle"] ** 2
        self.weight = normal(every, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
        self.bias = normal(every)
        self.form = {key: drawn[key] for key in ("stride", "padding", "shuffle")}
        self.activation = drawn["activation"]
        self.expected = definition(self.x, self.weight, self.bias, **self.form)
        self.skip = None
        if drawn["residual"]:
            shape = self.expected.shape
            self.skip = poisoned(shape, 1, self.dtype).copy_(normal(*shape))
            self.expected = self.expected + self.skip.double()
        self.expected = activated(self.expected, self.activation)
        self._packed = _C.DirectConvolution(self.weight.numpy(), self.bias.numpy())

    def run(self, **options):
        out = poisoned(self.expected.shape, self.gap, self.dtype)
        return self.run_into(out, **options)

    def run_into(self, out, **options):
        self._packed.run(
            array(self.x),
            array(out),
            residual=None if self.skip is None else array(self.skip),
            activation=self.activation,
            **self.form,
            **options,
        )
        return out


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=150, deadline=None)
@given(drawn=convolutions(), threads=st.integers(1, 3))
def test_it_is_the_definition(isa, drawn, threads):
    example = Example(drawn)
    check(example.run(isa=isa, threads=threads), example.expected)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=60, deadline=None)
@given(drawn=convolutions(), data=st.data())
def test_rows_and_threads_change_no_bit(isa, drawn, data):
    example = Example(drawn)
    whole = example.run(isa=isa)
    rows = whole.shape[1] // drawn["shuffle"]
    out = poisoned(whole.shape, drawn["gap"], drawn["dtype"])
    begin = 0
    while begin < rows:
        end = data.draw(st.integers(begin + 1, rows))
        threads = data.draw(st.integers(1, 9))
        example.run_into(out, isa=isa, rows_begin=begin, rows_end=end, threads=threads)
        written = out[:, : end * drawn["shuffle"]]
        assert torch.equal(written, whole[:, : written.shape[1]])
        assert out[:, written.shape[1] :].isnan().all()
        begin = end


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("kernel", "stride", "inputs", "outputs", "sides"),
    [
        (3, 2, 320, 192, (8, 12)),
        (5, 2, 96, 33, (17, 60)),
        (2, 2, 3, 48, (64, 96)),
        (3, 1, 48, 3, (40, 250)),
    ],
)
def test_layers_of_the_models(isa, kernel, stride, inputs, outputs, sides):
    drawn = {"batch": 1, "height": sides[0], "width": sides[1], "gap": 0, "seed": 1}
    drawn |= {"kernel": kernel, "stride": stride, "inputs": inputs, "outputs": outputs}
    drawn |= {"padding": kernel // 2 if kernel % 2 else 0, "shuffle": 1, "residual": False}
    example = Example(drawn | {"activation": "none", "dtype": torch.float32})
    out = example.run(isa=isa)
    check(out, example.expected)
    for threads in (2, 5, 16):
        assert torch.equal(example.run(isa=isa, threads=threads), out)


def test_only_rows_that_are_needed_are_read():
    x = torch.randn(1, 20, 30, 8)
    weight, bias = torch.randn(8, 8, 3, 3), torch.randn(8)
    packed = _C.DirectConvolution(weight.numpy(), bias.numpy())
    out = torch.zeros(1, 10, 15, 8)
    packed.run(array(x), array(out), stride=2, padding=1)
    hidden = x.clone()
    hidden[:, :7] = hidden[:, 12:] = float("nan")
    some = torch.zeros_like(out)
    packed.run(array(hidden), array(some), stride=2, padding=1, rows_begin=4, rows_end=6)
    assert torch.equal(some[:, 4:6], out[:, 4:6])


def test_bad_arguments_are_refused():
    floats = np.zeros((16, 16, 3, 3), np.float32), np.zeros(16, np.float32)
    for weight, bias in (
        (np.zeros((16, 16, 3, 5), np.float32), floats[1]),
        (np.zeros((16, 16, 3), np.float32), floats[1]),
        (np.zeros((0, 16, 3, 3), np.float32), floats[1][:0]),
        (np.zeros((16, 1, 17, 17), np.float32), floats[1]),
        (floats[0], floats[1][:8]),
    ):
        with pytest.raises(ValueError, match=r"weights must|bias must"):
            _C.DirectConvolution(weight, bias)
    packed = _C.DirectConvolution(*floats)
    x, out = np.zeros((1, 4, 4, 16), np.float32), np.zeros((1, 4, 4, 16), np.float32)
    for arguments, options, message in (
        ((x[..., :8], out), {}, "other channels"),
        ((x[0], out), {}, "maps must be"),
        ((x, out[:, :3]), {}, "another shape"),
        ((x.astype(np.float64), out), {}, "float32"),
        ((x, out.astype(np.uint16)), {}, "maps must be"),
        ((np.zeros((1, 16, 4, 4), np.float32).transpose(0, 2, 3, 1), out), {}, "side by side"),
        ((x, out), {"residual": out[:, :3]}, "another shape"),
        ((x, out), {"activation": "swish"}, "activation must be"),
        ((x, out), {"stride": 0}, "stride and shuffle"),
        ((x, out), {"padding": 17}, "the padding"),
        ((x, out), {"padding": 0}, "another shape"),
        ((x[:, :2], out), {"padding": 0}, "larger than the map"),
        ((x, out), {"shuffle": 17}, "stride and shuffle"),
        ((x, out), {"shuffle": 3}, "shuffle x shuffle"),
        ((x, out), {"rows_begin": 3, "rows_end": 5}, "no such rows"),
        ((x, out), {"rows_begin": 3, "rows_end": 2}, "no such rows"),
        ((x, out), {"isa": "neon"}, "instruction set"),
    ):
        with pytest.raises(ValueError, match=message):
            packed.run(*arguments, **{"padding": 1, **options})
