"""Elements of programs, and maps that are parts of others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops.exact_quantize import exact_quantize
from lic_fast.ops.integer_program import IntegerProgram, reference
from lic_fast.runtime.integer import ElementStep, Map, QuantizeStep
from tests.ops.test_integer_program import Builder


def numbers(maps, shape, generator):
    """Of any size, some of them equal, zero, or below what roots are taken of."""
    x = torch.randn(maps, *shape, generator=generator)
    x *= 2.0 ** torch.randint(-30, 20, x.shape, generator=generator)
    return torch.where(torch.rand(x.shape, generator=generator) < 0.1, 0.0, x).unbind()


@pytest.mark.parametrize("isa", rans.instruction_sets())
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_instruction_set_gives_the_bits_of_the_definition(isa, data):
    """Two maps, their halves swapped in one map, and all four elements of its parts."""
    b = Builder(data.draw(st.integers(0, 99)))
    half, bits = data.draw(st.sampled_from([1, 5, 16, 70])), data.draw(st.sampled_from([7, 14]))
    given_maps = [b.new(2 * half), b.new(2 * half)]
    parts = []
    for whole in given_maps:
        for first in (0, half):
            b.maps.append(Map(half, 0, 1, whole, first))
            parts.append(len(b.maps) - 1)
    joined, written = b.new(2 * half), b.new(2 * half, bits // 7)
    quantizer = b.quantizer(2 * half, bits)
    for i, (x, y) in enumerate(((parts[3], parts[0]), (parts[1], parts[2]))):
        channels = slice(i * half, (i + 1) * half)
        own = quantizer._replace(
            inverse_step=quantizer.inverse_step[channels], zero=quantizer.zero[channels]
        )
        b.maps += [Map(half, 0, 1, joined, i * half), Map(half, bits // 7, 1, written, i * half)]
        element = data.draw(st.sampled_from(["add", "times_root", "over_root"]))
        b.steps.append(ElementStep(element, own, x, y, len(b.maps) - 2, len(b.maps) - 1))
    squares = b.new(2 * half)
    b.steps.append(ElementStep("square", None, joined, None, squares, None))
    program = IntegerProgram(b.maps, b.steps, given_maps, [joined, written, squares])
    sides = [data.draw(st.integers(1, limit)) for limit in (2, 5, 9)]
    x = [[one] for one in numbers(2, (sides[0], 2 * half, *sides[1:]), b.generator)]
    with backend("reference"):
        expected = reference(program, x)
        (first,) = expected[0]
        assert all(map(torch.equal, expected[1], exact_quantize(first, *quantizer)))
    out = [[torch.empty_like(h.permute(0, 2, 3, 1)) for h in halves] for halves in expected]
    out = [[h.contiguous() for h in halves] for halves in out]
    maps = [[half.permute(0, 2, 3, 1).contiguous().numpy() for half in halves] for halves in x]
    arrays = [[h.numpy() for h in halves] for halves in out]
    _C.run_integer_programs([(program.packed, maps, arrays)], data.draw(st.integers(1, 3)), isa)
    for found, wanted in zip(out, expected, strict=True):
        assert all(
            torch.equal(h.permute(0, 3, 1, 2), w) for h, w in zip(found, wanted, strict=True)
        )


def test_parts_that_make_no_sense_are_refused():
    square = ElementStep("square", None, 0, None, 1, None)

    def refused(match, maps, steps=(square,), outputs=(1,)):
        with pytest.raises(ValueError, match=match):
            IntegerProgram(maps, steps, [0], outputs)

    whole = [Map(4), Map(4)]
    refused("some of its channels", [*whole, Map(3, 0, 1, 1, 2)])
    refused("some of its channels", [*whole, Map(2, 0, 1, 1, 2**64 - 1)])
    refused("some of its channels", [*whole, Map(2, 1, 1, 1, 0)])
    refused("some of its channels", [*whole, Map(2, 0, 2, 1, 0)])
    refused("no part itself", [*whole, Map(4, 0, 1, 1, 0), Map(2, 0, 1, 2, 0)])
    refused("no part itself", [*whole, Map(4, 0, 1, 9, 0)])
    refused("first channel", [Map(4), Map(4, 0, 1, None, 1)])
    refused("2\\^20", [Map(4), Map(2**40)])
    parts = [Map(4), Map(8), Map(4, 0, 1, 1, 0), Map(4, 0, 1, 1, 2)]
    one, two = (square._replace(values=i) for i in (2, 3))
    refused("whole map", parts, [one])  # half of the output is missing
    refused("has been written", parts, [one, two])
    refused("whole map", parts, [one], outputs=[2])
    refused("no step wrote", [*parts, Map(8)], [one, square._replace(x=1, values=4)], [4])
    refused("alone", whole, [square._replace(y=0)])
    refused("alone", whole, [square._replace(element="add")])
    refused("writes nothing", whole, [square._replace(values=None)])
    refused("one of add", whole, [square._replace(element="cube")])
    b = Builder(0)
    refused("quantizer", whole, [square._replace(quantizer=b.quantizer(4, 7))])
    quantized = QuantizeStep(b.quantizer(4, 7), 0, 1)
    refused("halves", whole, [quantized])
