"""Networks of integer layers: the bits of their layers one after another."""

import copy as copying
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops.integer_layer import pack, reference
from lic_fast.ops.integer_network import IntegerNetwork
from lic_fast.runtime.integer import Layer
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


def composed(layers, x, residual=None):
    """The definition."""
    for i, layer in enumerate(layers):
        last = i == len(layers) - 1
        x = reference(x[: len(layer["border"])], **layer, residual=residual if last else None)
    return x


@st.composite
def networks(draw):
    """Layers that fit each other; widths that do and do not divide into quads and blocks."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    groups = draw(st.sampled_from([1, 1, 2]))
    widths = draw(st.lists(st.sampled_from([1, 4, 7, 8, 16, 20, 35]), min_size=2, max_size=5))
    bits = draw(st.sampled_from([7, 14]))
    layers = []
    for i, (n, m) in enumerate(pairwise(widths)):
        halves = draw(st.integers(1, bits // 7))
        last = i == len(widths) - 2
        bits = draw(st.sampled_from([0, 7, 14] if last else [7, 14]))
        kernel = draw(st.sampled_from([1, 3, 5]))
        stride = min(kernel, draw(st.sampled_from([1, 1, 2])))
        activation = draw(st.sampled_from(ACTIVATIONS))
        form = {"groups": groups, "kernel": kernel, "stride": stride, "halves": halves}
        layers.append(
            parameters(groups * n, groups * m, generator, **form, activation=activation, bits=bits)
        )
    sides = draw(st.tuples(st.integers(1, 9), st.integers(1, 30)))
    shape = (draw(st.integers(1, 2)), groups * widths[0], *sides)
    return layers, activations(len(layers[0]["border"]), shape, generator)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(network=networks(), threads=st.integers(1, 3), added=st.booleans())
def test_every_instruction_set_gives_the_bits_of_the_layers(isa, network, threads, added):
    layers, x = network
    expected = composed(layers, x)
    residual = None
    if added:
        shape = (expected if isinstance(expected, torch.Tensor) else expected[0]).shape
        residual = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        expected = composed(layers, x, residual)
        residual = part_of_a_larger_map(residual, 1, 3, np.float32(np.nan))[0]
    first = expected if isinstance(expected, torch.Tensor) else expected[0]
    out, around = poisoned(tuple(first.shape), 0 if expected is first else 7 * len(expected))
    maps = [part_of_a_larger_map(half, 2, 5, np.uint8(255))[0] for half in x]
    packed = _C.IntegerNetwork([pack(**layer) for layer in layers])
    for _ in range(2):  # the second time in memory that was used
        assert packed.run(maps, threads, isa, out, residual) is out
        assert_same_bits(out, expected)
    assert_untouched_around(around, out)


def two_layers(bits=0, activation="gelu"):
    generator = torch.Generator().manual_seed(1)
    layers = [
        parameters(8, 12, generator, halves=2, activation=activation, bits=14),
        parameters(12, 20, generator, halves=1, bits=bits),
    ]
    return layers, activations(2, (1, 8, 6, 14), generator)


@pytest.mark.parametrize("bits", [0, 7, 14])
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_the_operator_writes_new_maps_and_given_ones(bits, name):
    layers, x = two_layers(bits)
    expected = composed(layers, x)
    network = IntegerNetwork([Layer(**layer) for layer in layers])
    larger = [torch.full((1, 6, 14, 50), 99) for _ in range(bits // 7 or 1)]
    larger = [whole.to(torch.uint8 if bits else torch.float32) for whole in larger]
    parts = [whole.permute(0, 3, 1, 2)[:, 10:30] for whole in larger]
    out = parts if bits else parts[0]
    with backend(name):
        new, written = network(x), network(x, out=out)
    for result in (new, written):
        for got, wanted in zip(result, expected, strict=True) if bits else [(result, expected)]:
            assert torch.equal(got, wanted)
    for whole in larger:
        assert (whole[..., :10] == 99).all()
        assert (whole[..., 30:] == 99).all()


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_a_residual_is_the_last_layers(name):
    layers, x = two_layers()
    layers[1]["activation"] = "relu"
    network = IntegerNetwork([Layer(**layer) for layer in layers])
    residual = torch.randn(1, 20, 6, 14)
    expected = composed(layers, x, residual)
    assert not torch.equal(expected, composed(layers, x))
    with backend(name):
        assert torch.equal(network(x, residual=residual), expected)
        with pytest.raises(ValueError, match="residual"):
            network(x, residual=residual[:, :, :5])
    own = residual.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert network(x, residual=own, out=own) is own
    assert torch.equal(own, expected)
    memory = torch.zeros(1, 6, 14, 30).permute(0, 3, 1, 2)
    with pytest.raises(ValueError, match="out overlaps residual"):
        network(x, residual=memory[:, :20], out=memory[:, 10:])


def test_copies_compute_the_same():
    layers, x = two_layers()
    network = IntegerNetwork([Layer(**layer) for layer in layers])
    expected = composed(layers, x)
    for copy in (copying.copy(network), copying.deepcopy(network)):
        assert torch.equal(copy(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(network))(x), expected)


def test_maps_beyond_all_memory_are_refused():
    layers, _ = two_layers()
    packed = _C.IntegerNetwork([pack(**layer) for layer in layers])
    # One pixel in every place, of which numpy makes as many as an index can count.
    side = 2**28
    x = [np.broadcast_to(np.uint8(1), (1, side, side, 8))] * 2
    out = np.lib.stride_tricks.as_strided(
        np.zeros(20, np.float32), (1, side, side, 20), (0, 0, 0, 4)
    )
    with pytest.raises((ValueError, MemoryError)):
        packed.run(x, 1, None, out)


def test_calls_at_once_do_not_share_memory():
    layers, _ = two_layers()
    network = IntegerNetwork([Layer(**layer) for layer in layers])
    generator = torch.Generator().manual_seed(2)
    inputs = [activations(2, (1, 8, 5 + i, 24), generator) for i in range(8)]
    expected = [composed(layers, x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, wanted in zip(pool.map(network, inputs), expected, strict=True):
                assert torch.equal(got, wanted)


def test_out_that_is_the_input_or_does_not_fit_is_refused():
    layers, x = two_layers(7)
    network = IntegerNetwork([Layer(**layer) for layer in layers])
    for name in ("auto", "reference"):
        with backend(name), pytest.raises(ValueError, match="out"):
            network(x, out=[torch.zeros(1, 20, 6, 13, dtype=torch.uint8)])
    memory = torch.zeros(1, 6, 14, 30, dtype=torch.uint8).permute(0, 3, 1, 2)
    with pytest.raises(ValueError, match="out overlaps x"):
        network([memory[:, :8], memory[:, 8:16]], out=[memory[:, 10:]])
    assert network([memory[:, :8], memory[:, 2:10]], out=[memory[:, 10:]])[0].shape[1] == 20
    with pytest.raises(ValueError, match="a map for each border"):
        network([])
    with pytest.raises(ValueError, match=r"a map must be \(B, C, H, W\)"):
        network([half[0] for half in x])


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: [], "at least one layer"),
        (lambda layers: layers[1:] * 2, "quantised output"),
        (lambda layers: layers[:1] * 2, "channels"),
        (lambda layers: [layers[2], layers[3]], "two halves"),
    ],
)
def test_layers_that_do_not_fit_each_other_are_refused(device, change, message):
    generator = torch.Generator().manual_seed(1)
    layers, _ = two_layers()
    layers.append(parameters(8, 12, generator, bits=7))
    layers.append(parameters(12, 12, generator, halves=2))
    moved = [Layer(**{**layer, "weight": layer["weight"].to(device)}) for layer in change(layers)]
    with pytest.raises(ValueError, match=message):
        IntegerNetwork(moved)
    if device == "cpu":
        with pytest.raises(ValueError, match=message):
            _C.IntegerNetwork([pack(*layer) for layer in moved])


def test_a_map_beyond_its_range_leaves_the_network_usable():
    layers, x = two_layers()
    network = IntegerNetwork([Layer(**layer) for layer in layers])
    with pytest.raises(ValueError, match=r"0\.\.127"):
        network([half + 100 for half in x])
    with pytest.raises(TypeError):
        _C.IntegerNetwork([None, 3])
    assert_same_bits(as_array(network(x)), composed(layers, x))
