"""Programs whose maps grow: sub-pixel layers, and layers on the larger maps behind them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops.integer_program import IntegerProgram, reference
from lic_fast.runtime.integer import Layer, LayersStep, Map, QuantizeStep, SubpixelStep
from tests.ops.integer_operands import activations, parameters
from tests.ops.test_integer_program import Builder


def subpixel(b, x, channels, up, *, halves, bits, kernel):
    """A step with both kinds of output: what it writes as floats, and as activations."""
    form = {"kernel": kernel, "halves": halves, "bits": 0, "activation": "leaky_relu"}
    wide = parameters(b.maps[x].channels, channels * up * up, b.generator, **form)
    layer = Layer(**{**wide, "output": b.quantizer(channels, bits)})
    scale = up * b.maps[x].scale
    b.maps += [Map(channels, 0, scale), Map(channels, bits // 7, scale)]
    values, written = len(b.maps) - 2, len(b.maps) - 1
    b.steps.append(SubpixelStep(layer, up, x, values, written))
    return values, written


def layers_behind(b, x, channels, *, halves, kernel):
    layer = Layer(
        **parameters(
            b.maps[x].channels,
            channels,
            b.generator,
            kernel=kernel,
            halves=halves,
            bits=0,
            activation="gelu",
        )
    )
    b.maps.append(Map(channels, 0, b.maps[x].scale))
    b.steps.append(LayersStep([layer], x, None, len(b.maps) - 1, None))
    return len(b.maps) - 1


@pytest.mark.parametrize("isa", rans.instruction_sets())
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_instruction_set_gives_the_bits_of_the_definition(isa, data):
    b = Builder(data.draw(st.integers(0, 99)))
    bits, halves = data.draw(st.sampled_from([(7, 1), (14, 1), (14, 2)]))
    kernels = st.sampled_from([1, 3, 5])
    form = {"halves": halves}
    given_map = b.new(data.draw(st.sampled_from([4, 7, 16])), bits // 7)
    first, second = (data.draw(st.integers(1, 3)) for _ in range(2))
    wide = {"bits": bits, "kernel": data.draw(kernels), **form}
    _, once = subpixel(b, given_map, data.draw(st.integers(1, 20)), first, **wide)
    values, twice = subpixel(b, once, 9, second, **wide)
    last = layers_behind(b, twice, 5, kernel=data.draw(kernels), **form)
    b.maps.append(Map(9, bits // 7, b.maps[values].scale))
    again = len(b.maps) - 1
    b.steps.append(QuantizeStep(b.quantizer(9, bits), values, again))
    program = IntegerProgram(b.maps, b.steps, [given_map], [last, values, again])
    shape = (data.draw(st.integers(1, 2)), b.maps[given_map].channels)
    shape += (data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
    x = activations(bits // 7, shape, b.generator)
    with backend("reference"):
        expected = reference(program, [x])
    out = [
        [torch.empty_like(half.permute(0, 2, 3, 1).contiguous()) for half in halves_of]
        for halves_of in expected
    ]
    maps = [half.permute(0, 2, 3, 1).contiguous().numpy() for half in x]
    written = [[half.numpy() for half in halves_of] for halves_of in out]
    _C.run_integer_programs([(program.packed, [maps], written)], data.draw(st.integers(1, 3)), isa)
    for found, wanted in zip(out, expected, strict=True):
        for half, values_of in zip(found, wanted, strict=True):
            assert torch.equal(half.permute(0, 3, 1, 2), values_of)


def test_maps_of_other_sides_are_refused():
    b = Builder(0)
    given_map = b.new(4, 2)
    subpixel(b, given_map, 3, 2, halves=2, bits=14, kernel=1)
    program = IntegerProgram(b.maps, b.steps, [given_map], [1])
    x = activations(2, (1, 4, 5, 6), b.generator)
    maps = [half.permute(0, 2, 3, 1).contiguous().numpy() for half in x]
    with pytest.raises(ValueError, match="another shape"):
        _C.run_integer_programs([(program.packed, [maps], [[torch.empty(1, 5, 6, 3).numpy()]])], 1)
    for maps_of in ([Map(3, 0, 1), b.maps[2]], [Map(3, 0, 4), b.maps[2]]):
        with pytest.raises(ValueError, match="scale"):
            IntegerProgram([b.maps[0], *maps_of], b.steps, [given_map], [1])
    with pytest.raises(ValueError, match="scale of 1"):
        IntegerProgram([Map(4, 2, 2), *b.maps[1:]], b.steps, [given_map], [1])
    for up in (0, 5):
        with pytest.raises(ValueError, match="pixels"):
            IntegerProgram(b.maps, [b.steps[0]._replace(up=up)], [given_map], [1])
