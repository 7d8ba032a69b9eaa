"""Programs of integer layers: the bits of their steps' own operators, one after another."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops.integer_layer import Quantizer
from lic_fast.ops.integer_program import IntegerProgram, reference, run_programs
from lic_fast.runtime.integer import (
    AttentionStep,
    GateStep,
    Layer,
    LayersStep,
    Map,
    NormStep,
    QuantizeStep,
)
from tests.ops.integer_operands import ACTIVATIONS, activations, parameters

ISAS = rans.instruction_sets()


class Builder:
    """Maps and steps, with random numbers."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.maps = []
        self.steps = []

    def new(self, channels, halves=0):
        self.maps.append(Map(channels, halves))
        return len(self.maps) - 1

    def uniform(self, count, low, high):
        return low + (high - low) * torch.rand(count, generator=self.generator)

    def quantizer(self, channels, bits):
        zero = torch.randint(0, 2**bits, (channels,), generator=self.generator)
        step = self.uniform(channels, 0.2, 0.4) * 2**bits
        return Quantizer(step, zero.to(torch.int32), bits)

    def layers(self, x, widths, *, halves, kernel=1, residual=None, values=True, bits=0):
        layers = []
        inner = [self.maps[x].channels, *widths]
        for i, (n, m) in enumerate(zip(inner, widths, strict=False)):
            last = i == len(widths) - 1
            form = {"kernel": kernel, "halves": halves, "bits": bits if last else 7 * halves}
            activation = ACTIVATIONS[int(torch.randint(0, 4, (), generator=self.generator))]
            layers.append(Layer(**parameters(n, m, self.generator, activation=activation, **form)))
        float_map = self.new(widths[-1]) if values else None
        written = self.new(widths[-1], bits // 7) if bits else None
        self.steps.append(LayersStep(layers, x, residual, float_map, written))
        return float_map, written

    def quantized(self, make, channels, bits):
        to = self.new(channels, bits // 7)
        self.steps.append(make(self.quantizer(channels, bits), to))
        return to

    def norm(self, x, bits):
        channels = self.maps[x].channels
        weight, bias = self.uniform(channels, -2, 2), self.uniform(channels, -1, 1)
        numbers = (weight, bias, torch.tensor(3000.0), torch.tensor(1e3))
        return self.quantized(lambda q, to: NormStep(*numbers, q, x, to), channels, bits)

    def attention(self, x, heads, window, shift, bits):
        channels = self.maps[x].channels // 3
        numbers = (
            self.uniform(3 * channels, 100.0, 600.0),
            self.uniform(heads, 1e-7, 1e-4),
            self.uniform(((2 * window - 1) ** 2, heads), -2, 2),
            self.uniform(channels, 1e-3, 1e-2),
            window,
            shift,
        )
        return self.quantized(lambda q, to: AttentionStep(*numbers, q, x, to), channels, bits)


@st.composite
def programs(draw):
    """Every kind of step, in a graph like an attention module's, some maps read twice."""
    b = Builder(draw(st.integers(0, 999)))
    bits, halves = draw(st.sampled_from([(7, 1), (14, 1), (14, 2)]))
    heads, size = draw(st.integers(1, 3)), draw(st.sampled_from([1, 3, 8, 16, 20]))
    channels = heads * size
    window = draw(st.sampled_from([1, 2, 4, 5, 8]))
    shift = draw(st.integers(0, window - 1))
    form = {"halves": halves}
    given_map = b.new(draw(st.sampled_from([4, 7, 16, 35])), bits // 7)
    u, quantised = b.layers(given_map, [channels], bits=bits, **form)
    qkv, _ = b.layers(b.norm(u, bits), [3 * channels], **form)
    attended = b.attention(qkv, heads, window, shift, bits)
    x, _ = b.layers(attended, [channels], residual=u, **form)
    hidden = b.quantized(lambda q, to: QuantizeStep(q, x, to), channels, bits)
    gate, _ = b.layers(hidden, [2 * channels, channels], kernel=3, residual=x, **form)
    a, _ = b.layers(quantised, [channels], kernel=3, **form)
    gated = b.quantized(lambda q, to: GateStep(q, a, gate, u, to), channels, bits)
    last, both = b.layers(gated, [channels, 9], bits=14, **form)
    program = IntegerProgram(b.maps, b.steps, [given_map], [last, both, gated, u])
    sides = [window * draw(st.integers(1, 2 if window > 2 else 5)) for _ in range(2)]
    shape = (draw(st.integers(1, 2)), b.maps[given_map].channels, *sides)
    return program, activations(bits // 7, shape, b.generator)


def outputs_of(program, x, fill=99):
    """Parts of larger maps, which nobody else may touch."""
    batch, _, *sides = x[0].shape
    larger = [
        [
            torch.full((batch, *sides, m.channels + 5), fill).to(
                torch.uint8 if m.halves else torch.float32
            )
            for _ in range(max(m.halves, 1))
        ]
        for m in (program.maps[i] for i in program.outputs)
    ]
    return larger, [[whole[..., 2:-3] for whole in halves] for halves in larger]


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=25, deadline=None)
@given(made=programs(), threads=st.integers(1, 3), count=st.integers(1, 3))
def test_every_instruction_set_gives_the_bits_of_the_operators(isa, made, threads, count):
    program, x = made
    with backend("reference"):
        expected = reference(program, [x])
    calls, maps = [], [half.permute(0, 2, 3, 1).contiguous().numpy() for half in x]
    for _ in range(count):
        larger, out = outputs_of(program, x)
        calls.append((larger, out))
    for _ in range(2):  # the second time in memory that was used
        _C.run_integer_programs(
            [
                (program.packed, [maps], [[half.numpy() for half in halves] for halves in out])
                for _, out in calls
            ],
            threads,
            isa,
        )
        for larger, out in calls:
            for halves, wanted, wholes in zip(out, expected, larger, strict=True):
                for half, values, whole in zip(halves, wanted, wholes, strict=True):
                    assert torch.equal(half.permute(0, 3, 1, 2), values)
                    assert (whole[..., :2] == 99).all()
                    assert (whole[..., -3:] == 99).all()


def small(window=4):
    b = Builder(1)
    given_map = b.new(8, 2)
    u, _ = b.layers(given_map, [24], halves=2, bits=0)
    attended = b.attention(u, 2, window, 1, 14)
    program = IntegerProgram(b.maps, b.steps, [given_map], [attended, u])
    return b, program, activations(2, (1, 8, 8, 12), b.generator)


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_the_operator_writes_what_it_is_given(name):
    _, program, x = small()
    with backend("reference"):
        expected = reference(program, [x])
    larger, out = outputs_of(program, x)
    given_maps = [[half.permute(0, 3, 1, 2) for half in halves] for halves in out]
    with backend(name):
        run_programs([(program, [x], given_maps)])
    for halves, wanted in zip(given_maps, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(halves, wanted, strict=True))
    assert all((whole[..., :2] == 99).all() for wholes in larger for whole in wholes)


def test_calls_that_do_not_fit_are_refused():
    _, program, x = small()
    _, out = outputs_of(program, x)
    out = [[half.permute(0, 3, 1, 2) for half in halves] for halves in out]
    with pytest.raises(ValueError, match="whole windows"):
        run_programs(
            [(program, [[half[:, :, :6] for half in x]], [[h[:, :, :6] for h in o] for o in out])]
        )
    with pytest.raises(ValueError, match="another shape"):
        run_programs([(program, [x], [out[0], [out[1][0][:, :, :4]]])])
    with pytest.raises(ValueError, match="halves"):
        run_programs([(program, [x[:1]], out)])
    with pytest.raises(ValueError, match="maps of out"):
        run_programs([(program, [x], out[:1])])
    with pytest.raises(ValueError, match="out overlaps another"):
        run_programs([(program, [x], out), (program, [x], out)])
    whole = torch.zeros(1, 8, 12, 80, dtype=torch.uint8).permute(0, 3, 1, 2)
    read, written = [whole[:, :8], whole[:, 8:16]], [whole[:, 12:20], whole[:, 40:48]]
    with pytest.raises(ValueError, match="out overlaps x"):
        run_programs([(program, [read], [written, out[1]])])
    with pytest.raises(TypeError, match="out must be"):
        run_programs([(program, [x], [out[0], [out[1][0].to(torch.float64)]])])
    with pytest.raises(ValueError, match=r"0\.\.127"):
        run_programs([(program, [[half + 100 for half in x]], out)])


def test_programs_that_make_no_sense_are_refused():
    b, program, _ = small()
    layers, attention = program.steps
    other = b.quantizer(8, 7)

    def refused(steps, match, inputs=(0,), outputs=(2,)):
        with pytest.raises(ValueError, match=match):
            IntegerProgram(b.maps, steps, inputs, outputs)

    refused([attention, layers], "no step wrote")
    refused([layers, layers, attention], "has been written")
    refused([layers, attention], "no whole map", outputs=[7])
    refused([layers, attention], "no whole map", outputs=[0])
    refused([layers, attention], "twice", inputs=[0, 0])
    refused([layers, attention], "inputs and outputs", outputs=[])
    refused([layers._replace(x=9), attention], "no step wrote")
    refused([layers._replace(values=2, residual=None), attention], "does not fit")
    refused([layers, attention._replace(window_size=3)], "table must be")
    refused([layers, attention._replace(shift=4)], "shift")
    refused([layers, attention._replace(quantizer=other)], "halves|channels")
    refused([layers._replace(activations=2, values=None), attention], "quantizer|nobody")
    refused([layers, QuantizeStep(b.quantizer(24, 14), 1, 2)], "does not fit")
    refused([layers, NormStep(*[torch.ones(5)] * 2, *[torch.ones(())] * 2, other, 1, 2)], "not fit")
    refused([layers, GateStep(b.quantizer(8, 14), 1, 1, 1, 2)], "fit|channels")
    with pytest.raises(ValueError, match="7 or 14"):
        _C.IntegerQuantizer(np.ones(3, np.float32), np.zeros(3, np.int32), 8)
    with pytest.raises(ValueError, match="zero"):
        _C.IntegerQuantizer(np.ones(3, np.float32), np.full(3, 128, np.int32), 7)
    with pytest.raises(TypeError):
        _C.IntegerProgram([(8, 2, 1)], [None], [0], [0])
