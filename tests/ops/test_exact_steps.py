"""The element-wise steps of portable models: the bits of the definition everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops import exact
from lic_fast.ops.exact_add_residual import exact_add_residual
from lic_fast.ops.exact_quantize import exact_quantize, reference
from lic_fast.ops.exact_sigmoid import exact_sigmoid
from lic_fast.ops.integer_layer import Quantizer
from tests.ops.integer_operands import (
    as_array,
    assert_same_bits,
    assert_untouched_around,
    part_of_a_larger_map,
    poisoned,
    quantizer,
)

ISAS = rans.instruction_sets()
SHAPES = st.tuples(
    st.integers(1, 2), st.sampled_from([1, 7, 16, 33, 70]), st.integers(1, 9), st.integers(1, 40)
)


def values(shape, generator, spread=3.0):
    """Halves of integers, numbers between them, zeros of both signs and huge ones."""
    x = torch.randn(shape, generator=generator) * spread
    kind = torch.randint(0, 6, shape, generator=generator)
    x = torch.where(kind == 0, (x * 2).round() / 2, x)
    x = torch.where(kind == 1, torch.copysign(torch.zeros(()), x), x)
    return torch.where(kind == 2, x * 10.0 ** torch.randint(-30, 30, shape, generator=generator), x)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(
    shape=SHAPES,
    bits=st.sampled_from([7, 14]),
    planes=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_quantisation_gives_the_bits_of_the_definition(isa, shape, bits, planes, threads, seed):
    generator = torch.Generator().manual_seed(seed)
    q = quantizer(shape[1], bits, generator)
    x = values(shape, generator, 2.0 ** (bits - 2))
    out, around = poisoned(shape, bits)
    array = x.permute(0, 2, 3, 1).numpy() if planes else part_of_a_larger_map(x, 1, 3, np.nan)[0]
    _C.exact_quantize(array, q.inverse_step.numpy(), q.zero.numpy(), bits, out, threads, isa)
    assert_same_bits(out, reference(x, *q))
    assert_untouched_around(around, out)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, dense=st.booleans(), threads=st.integers(1, 3), seed=st.integers(0, 999))
def test_residuals_give_the_bits_of_the_definition(isa, shape, dense, threads, seed):
    generator = torch.Generator().manual_seed(seed)
    x, lrp = values(shape, generator), values(shape, generator)
    expected = exact.add_residual(x, lrp)
    out, around = poisoned(shape, 0)
    if dense:
        out, first, second = (
            np.full(as_array(x).shape, np.nan, np.float32),
            *map(as_array, (x, lrp)),
        )
    else:
        first, second = (part_of_a_larger_map(t, 2, 1, np.nan)[0] for t in (x, lrp))
    _C.exact_add_residual(first, second, out, threads, isa)
    assert_same_bits(out, expected)
    if not dense:
        assert_untouched_around(around, out)
    _C.exact_add_residual(first, second, first, threads, isa)  # in place
    assert_same_bits(first, expected)


def test_the_definition_is_close_to_the_hyperbolic_tangent():
    lrp = torch.linspace(-30, 30, 100001)
    exactly = 1.0 + 0.5 * torch.tanh(lrp.double())
    assert (exact.add_residual(torch.ones(()), lrp) - exactly).abs().max() < 2e-7


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_the_operators_take_any_layout(name):
    generator = torch.Generator().manual_seed(0)
    x, lrp = values((2, 20, 5, 9), generator), values((2, 20, 5, 9), generator)
    larger, other = torch.zeros(2, 2, 5, 9, 30, dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    for layout in (torch.contiguous_format, torch.channels_last):
        y, z = (t.contiguous(memory_format=layout) for t in (x, lrp))
        with backend(name):
            assert torch.equal(exact_add_residual(y, z), exact.add_residual(x, lrp))
            assert torch.equal(exact_add_residual(y, lrp), exact.add_residual(x, lrp))
            for bits in (7, 14):
                q = quantizer(20, bits, generator, 100.0)
                expected = reference(x, *q)
                into = [larger[:, 5:25], other[:, 5:25]][: bits // 7]
                for out in (exact_quantize(y, *q), q(y), exact_quantize(y, *q, out=into)):
                    assert all(map(torch.equal, out, expected))
                    assert len(out) == bits // 7
                assert all(
                    torch.equal(half, wanted) for half, wanted in zip(into, expected, strict=True)
                )
    assert not larger[:, :5].any()
    assert not larger[:, 25:].any()


ONES, ZEROS = torch.ones(4), torch.zeros(4, dtype=torch.int32)
X = torch.zeros(1, 4, 3, 2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": X.double()}, TypeError, "x must be torch.float32"),
        ({"x": X[0]}, ValueError, r"x must be \(B, N, H, W\)"),
        ({"inverse_step": ONES[:3]}, ValueError, r"inverse_step must be \(4,\)"),
        ({"inverse_step": ONES.double()}, TypeError, "inverse_step must be"),
        ({"zero": ZEROS.long()}, TypeError, "zero must be torch.int32"),
        ({"zero": ZEROS[:3]}, ValueError, r"zero must be \(4,\)"),
        ({"bits": 8}, ValueError, "not 8"),
        ({"out": []}, ValueError, "out must be 1 maps"),
        ({"out": [X.byte()[:, :3]]}, ValueError, "out must be 1 maps"),
        ({"out": [X]}, TypeError, "out must be torch.uint8"),
    ],
)
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_what_cannot_be_quantised_is_refused(changes, error, message, name):
    arguments = {"x": X, "inverse_step": ONES, "zero": ZEROS, "bits": 7, **changes}
    with backend(name), pytest.raises(error, match=message):
        exact_quantize(**arguments)


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ([X.byte()], ValueError, "side by side"),
        ([as_array(X.byte())[:, :2]], ValueError, "another shape"),
        ([as_array(X)], TypeError, "uint8"),
        ([as_array(X.byte())] * 2, ValueError, "bits / 7 maps"),
        ([np.broadcast_to(np.uint8(0), (1, 3, 2, 4))], ValueError, "writeable"),
    ],
)
def test_maps_that_cannot_be_written_are_refused(out, error, message):
    arrays = [o.permute(0, 2, 3, 1).numpy() if isinstance(o, torch.Tensor) else o for o in out]
    with pytest.raises(error, match=message):
        _C.exact_quantize(as_array(X), ONES.numpy(), ZEROS.numpy(), 7, arrays, 1)


def test_residuals_that_do_not_fit_are_refused():
    for name in ("auto", "reference"):
        with backend(name):
            with pytest.raises(ValueError, match="one shape"):
                exact_add_residual(X, X[:, :3])
            assert torch.equal(exact_add_residual(X[0], X[0]), exact_add_residual(X, X)[0])
            with pytest.raises(TypeError, match=r"torch\.float32"):
                exact_add_residual(X, X.double())
    larger = np.zeros((1, 3, 2, 7), np.float32)
    with pytest.raises(ValueError, match="out overlaps lrp"):
        _C.exact_add_residual(as_array(X), larger[..., :4], larger[..., 3:], 1)


def test_a_quantizer_and_its_border():
    q = Quantizer(ONES, ZEROS + 1000, 14)
    assert all(map(torch.equal, q(X), [b.view(1, -1, 1, 1).expand(X.shape) for b in q.border()]))


@pytest.mark.parametrize("isa", ISAS)
def test_gates_have_the_bits_of_the_definition(isa):
    x = torch.cat([torch.linspace(-100, 100, 999), torch.tensor([0.0, -0.0, 1e-30, -1e30, 1e30])])
    for count in (1, 15, 64, 65, len(x)):
        out = np.full(count, np.nan, np.float32)
        _C.exact_sigmoid(x[:count].numpy(), out, 2, isa)
        assert torch.equal(torch.from_numpy(out), exact.sigmoid(x[:count]))
    values = torch.randn(2, 3, 5, 7)
    for layout in (
        values,
        values.contiguous(memory_format=torch.channels_last),
        values[:, 1:, ::2],
    ):
        assert torch.equal(exact_sigmoid(layout), exact.sigmoid(layout))
    with pytest.raises(TypeError, match="float32"):
        exact_sigmoid(values.double())


def test_roots_are_rounded_to_nearest():
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.rand(50000, generator=generator) * 10.0**k for k in (-9, 0, 3, 15)])
    # NumPy's is the processor's instruction; PyTorch's own may be off.
    assert np.array_equal(exact.sqrt(x).numpy(), np.sqrt(x.numpy()))
