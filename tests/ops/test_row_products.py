"""Linear maps, feed-forward halves and GDN of rows: csrc/linear beside float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, rans
from tests.ops.arrays import ACTIVATIONS, activated, array

WITH_WORDS = [isa for isa in rans.instruction_sets() if isa in ("avx2", "avx512vnni")]
# Instruction set, and how numbers are multiplied; all but floats are for bfloat16.
KERNELS = [(isa, "floats") for isa in rans.instruction_sets()]
KERNELS += [(rans.instruction_sets()[-1], "pairs")] if _C.has_pairs() else []
KERNELS += [(isa, "words") for isa in WITH_WORDS]
KERNELS += [(isa, "tiles") for isa in rans.instruction_sets() if isa == "amx"]
every_kernel = pytest.mark.parametrize(("isa", "products"), KERNELS)
every_isa_with_words = pytest.mark.parametrize("isa", WITH_WORDS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
# Beyond 384 the products of words have several sums.
WIDTHS = [1, 2, 3, 15, 16, 17, 31, 32, 48, 64, 80, 100, 400]
SHAPES = {
    "rows": st.integers(0, 110),
    "inputs": st.sampled_from(WIDTHS),
    "outputs": st.sampled_from(WIDTHS),
    "gap": st.sampled_from([0, 1, 64]),
    "threads": st.integers(1, 3),
    "seed": st.integers(0, 2**31),
}


def operand(generator, rows, channels, gap, dtype):
    """Rows that lie `gap` numbers apart, which are NaN."""
    part = torch.full((rows, channels + gap), float("nan"), dtype=dtype)[:, :channels]
    part.copy_(torch.randn(rows, channels, generator=generator))
    return part


def weights(generator, outputs, inputs):
    return torch.randn(outputs, inputs, generator=generator) / inputs**0.5


def packed(weight, bias, products):
    return _C.Linear(weight.numpy(), bias.numpy(), products)


def check(actual, expected, dtype, products="floats"):
    """Float32 arithmetic, then one rounding; others round what they multiply too."""
    assert actual.dtype == dtype
    rounding = 2.0**-8 if dtype == torch.bfloat16 else 0.0
    relative = {"floats": 1e-5, "pairs": 2.0**-6, "words": 2.0**-7, "tiles": 2.0**-6}[products]
    limit = relative * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual.double(), expected, rtol=rounding, atol=limit)


@every_kernel
@every_dtype
@settings(max_examples=40, deadline=None)
@given(
    **SHAPES,
    activation=st.sampled_from(ACTIVATIONS),
    residual=st.booleans(),
    norm=st.booleans(),
)
def test_a_map_is_the_definition(
    isa, products, dtype, rows, inputs, outputs, gap, threads, seed, activation, residual, norm
):
    if products != "floats" and dtype == torch.float32:
        return
    generator = torch.Generator().manual_seed(seed)
    x = operand(generator, rows, inputs, gap, dtype)
    skip = operand(generator, rows, outputs, gap, dtype)
    weight, bias = weights(generator, outputs, inputs), torch.randn(outputs, generator=generator)
    factors, offsets = torch.randn(2, inputs, generator=generator)
    whole = torch.full((rows, outputs + gap), float("nan"), dtype=dtype)  # poisoned
    packed(weight, bias, products).run(
        array(x),
        array(whole[:, :outputs]),
        residual=array(skip) if residual else None,
        norm=(factors.numpy(), offsets.numpy()) if norm else None,
        epsilon=1e-3,
        activation=activation,
        threads=threads,
        isa=isa,
    )
    assert whole[:, outputs:].isnan().all()
    if rows == 0:
        return
    given_ = x.double()
    if norm:
        given_ = F.layer_norm(given_, (inputs,), factors.double(), offsets.double(), 1e-3)
    expected = F.linear(given_, weight.double(), bias.double())
    expected = activated(expected + skip.double() if residual else expected, activation)
    check(whole[:, :outputs], expected, dtype, products)


@every_kernel
@every_dtype
@settings(max_examples=40, deadline=None)
@given(**SHAPES, hidden=st.sampled_from(WIDTHS))
def test_a_feed_forward_half_is_the_definition(
    isa, products, dtype, rows, inputs, outputs, gap, threads, seed, hidden
):
    if products != "floats" and dtype == torch.float32:
        return
    generator = torch.Generator().manual_seed(seed)
    x = operand(generator, rows, inputs, gap, dtype)
    skip = operand(generator, rows, outputs, gap, dtype)
    first, second = weights(generator, hidden, inputs), weights(generator, outputs, hidden)
    biases = torch.randn(hidden, generator=generator), torch.randn(outputs, generator=generator)
    factors, offsets = torch.randn(2, inputs, generator=generator)
    whole = torch.full((rows, outputs + gap), float("nan"), dtype=dtype)
    packed(first, biases[0], products).run(
        array(x),
        array(whole[:, :outputs]),
        second=packed(second, biases[1], products),
        residual=array(skip),
        norm=(factors.numpy(), offsets.numpy()),
        epsilon=1e-3,
        activation="gelu",
        threads=threads,
        isa=isa,
    )
    assert whole[:, outputs:].isnan().all()
    if rows == 0:
        return
    normal = F.layer_norm(x.double(), (inputs,), factors.double(), offsets.double(), 1e-3)
    between = F.gelu(F.linear(normal, first.double(), biases[0].double()))
    expected = F.linear(between, second.double(), biases[1].double()) + skip.double()
    check(whole[:, :outputs], expected, dtype, products)


@every_kernel
@pytest.mark.parametrize("inputs", [40, 48, 64])
def test_a_row_does_not_depend_on_how_many_there_are(isa, products, inputs):
    generator = torch.Generator().manual_seed(inputs)
    dtype = torch.float32 if products == "floats" else torch.bfloat16
    first = packed(weights(generator, 80, inputs), torch.randn(80), products)
    second = packed(weights(generator, inputs, 80), torch.randn(inputs), products)
    norm = torch.randn(inputs, generator=generator), torch.randn(inputs, generator=generator)
    x = torch.randn(39, inputs, generator=generator).to(dtype)

    def halves(rows):
        out = torch.full_like(rows, float("nan"))
        first.run(
            array(rows),
            array(out),
            second=second,
            residual=array(rows),
            norm=tuple(n.numpy() for n in norm),
            epsilon=1e-5,
            activation="gelu",
            isa=isa,
        )
        return out

    whole = halves(x)
    for count in (1, 2, 3, 4, 5, 6, 7, 33):
        for begin in (0, 39 - count):
            assert torch.equal(halves(x[begin : begin + count].clone()), whole[begin:][:count])


@every_kernel
@pytest.mark.parametrize("rows", [1, 64, 130])
def test_weights_that_are_larger_than_a_cache(isa, products, rows):
    """Tiles multiply more rows at once by them."""
    dtype = torch.float32 if products == "floats" else torch.bfloat16
    generator = torch.Generator().manual_seed(rows)
    x = operand(generator, rows, 400, 8, dtype)
    first, second = weights(generator, 1000, 400), weights(generator, 400, 1000)
    biases = torch.randn(1000, generator=generator), torch.randn(400, generator=generator)
    out = torch.full((rows, 400), float("nan"), dtype=dtype)
    packed(first, biases[0], products).run(
        array(x),
        array(out),
        second=packed(second, biases[1], products),
        residual=array(x),
        activation="gelu",
        threads=2,
        isa=isa,
    )
    between = F.gelu(F.linear(x.double(), first.double(), biases[0].double()))
    expected = F.linear(between, second.double(), biases[1].double()) + x.double()
    check(out, expected, dtype, products)


@every_kernel
@pytest.mark.parametrize("channels", [15, 48, 64])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_norm_of_rows_far_from_zero(isa, products, channels, spread):
    """Of numbers that are all equal it is nothing but its offsets."""
    dtype = torch.float32 if products == "floats" else torch.bfloat16
    generator = torch.Generator().manual_seed(channels)
    x = (200 + spread * torch.randn(20, channels, generator=generator)).to(dtype)
    factors, offsets = torch.randn(2, channels, generator=generator)
    out = torch.full((20, 32), float("nan"), dtype=dtype)
    weight, bias = weights(generator, 32, channels), torch.randn(32, generator=generator)
    packed(weight, bias, products).run(
        array(x), array(out), norm=(factors.numpy(), offsets.numpy()), epsilon=1e-5, isa=isa
    )
    normal = F.layer_norm(x.double(), (channels,), factors.double(), offsets.double(), 1e-5)
    expected = F.linear(normal, weight.double(), bias.double())
    if products == "floats":  # whose mean is rounded as a number of its size
        torch.testing.assert_close(out.double(), expected, rtol=0, atol=2e-2)
    else:
        check(out, expected, dtype, products)


@every_kernel
@every_dtype
@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 110),
    channels=st.sampled_from(WIDTHS),
    gap=st.sampled_from([0, 5]),
    inverse=st.booleans(),
    in_place=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_gdn_is_the_definition(isa, products, dtype, rows, channels, gap, inverse, in_place, seed):
    if products != "floats" and dtype == torch.float32:
        return
    generator = torch.Generator().manual_seed(seed)
    x = operand(generator, rows, channels, gap, dtype)
    gamma = torch.rand(channels, channels, generator=generator) / channels
    beta = torch.rand(channels, generator=generator) + 0.5
    norm = F.linear(x.double() ** 2, gamma.double(), beta.double()).sqrt()
    expected = x.double() * norm if inverse else x.double() / norm
    out = x if in_place else torch.full_like(x, float("nan"))
    packed(gamma, beta, products).run_gdn(array(x), array(out), inverse=inverse, threads=2, isa=isa)
    check(out, expected, dtype, products)


@every_kernel
def test_gelu_is_exact_to_float32_s_last_bits_everywhere(isa, products):
    if products != "floats":
        return
    x = torch.cat([torch.linspace(-12, 12, 40001), torch.linspace(-0.01, 0.01, 1001)])[:, None]
    out = torch.full_like(x, float("nan"))
    one = packed(torch.ones(1, 1), torch.zeros(1), "floats")
    one.run(array(x), array(out), activation="gelu", isa=isa)
    error = (out.double() - F.gelu(x.double())).abs()
    assert (error <= 2e-7 + 2.0**-23 * x.double().abs()).all()


@every_kernel
def test_gelu_is_exact_to_bfloat16_s_last_bits_everywhere(isa, products):
    """Of whole vectors, too, and of single ones."""
    if products == "floats":
        return
    x = torch.linspace(-12, 12, 4800).reshape(-1, 48).bfloat16()
    out = torch.full_like(x, float("nan"))
    same = packed(torch.eye(48), torch.zeros(48), products)
    same.run(array(x), array(out), activation="gelu", isa=isa)
    error = (out.double() - F.gelu(x.double())).abs()
    # Words of a row share a scale.
    rounding = 2.0**-8 * F.gelu(x.double()).abs() + (2e-3 if products == "words" else 1e-4)
    assert (error <= rounding).all()


@every_kernel
@every_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numbers_that_are_none_stay_such(isa, products, dtype, activation):
    if products != "floats" and dtype == torch.float32:
        return
    x = torch.tensor([[math.nan], [math.inf], [-math.inf], [3e38]], dtype=dtype)
    out = torch.zeros_like(x)
    one = packed(torch.ones(1, 1), torch.zeros(1), products)
    one.run(array(x), array(out), activation=activation, isa=isa)
    assert out[0].isnan().all()
    assert out[3] == x[3]
    if products == "words":  # a row of them has no scale
        assert out[1:3].isnan().all()
        return
    assert out[1].isposinf().all()
    expected = {"none": -math.inf, "relu": 0.0, "leaky_relu": -math.inf, "gelu": 0.0}
    assert out[2].item() == pytest.approx(expected[activation], abs=1e-20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((4, 3), np.float32)}, "x must be"),
        ({"x": np.zeros((4, 2), np.float64)}, "rows must be float32"),
        ({"x": np.zeros(8, np.float32)}, "x must be"),
        ({"x": np.zeros((2, 4), np.float32).T}, "side by side"),
        ({"out": np.zeros((4, 4), np.float32)}, "x must be"),
        ({"out": np.zeros((3, 5), np.float32)}, "x must be"),
        ({"out": np.zeros((4, 5), np.uint16)}, "one type"),
        ({"residual": np.zeros((4, 4), np.float32)}, "residual"),
        ({"norm": (np.zeros(3, np.float32), np.zeros(2, np.float32))}, "norm's weight"),
        (
            {"second": _C.Linear(np.ones((5, 4), np.float32), np.ones(5, np.float32))},
            "second",
        ),
        ({"activation": "swish"}, "activation must be"),
        ({"isa": "none"}, "instruction set"),
    ],
)
def test_operands_that_do_not_fit_are_refused(changes, message):
    arguments = {"x": np.zeros((4, 2), np.float32), "out": np.zeros((4, 5), np.float32)}
    arguments |= changes
    x, out = arguments.pop("x"), arguments.pop("out")
    linear = _C.Linear(np.ones((5, 2), np.float32), np.ones(5, np.float32))
    with pytest.raises(ValueError, match=message):
        linear.run(x, out, **arguments)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="weights must be"):
        _C.Linear(np.ones((0, 2), np.float32), np.ones(0, np.float32))
    with pytest.raises(ValueError, match="bias must be"):
        _C.Linear(np.ones((3, 2), np.float32), np.ones(2, np.float32))
    oblong = _C.Linear(np.ones((3, 2), np.float32), np.ones(3, np.float32))
    rows = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match="square"):
        oblong.run_gdn(rows, rows, inverse=False)


@every_isa_with_words
@pytest.mark.parametrize("inputs", [2, 384, 1024])
@pytest.mark.parametrize("sign", [1, -1])
def test_no_sum_of_words_overflows(isa, inputs, sign):
    """All of one size and sign, as no other weights and inputs add up to more."""
    x = torch.full((7, inputs), 3.0).bfloat16()
    weight, bias = torch.full((20, inputs), sign / inputs), torch.zeros(20)
    out = torch.full((7, 20), float("nan")).bfloat16()
    packed(weight, bias, "words").run(array(x), array(out), isa=isa)
    check(out, torch.full((7, 20), 3.0 * sign).double(), torch.bfloat16, "words")


@every_isa_with_words
@pytest.mark.parametrize("size", [1e-38, 1e-20, 1.0, 1e20, 1e30])
def test_words_of_any_size_of_numbers(isa, size):
    """Rows do not share a scale, and outputs do not."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(50, 32, generator=generator) * size
    x[25:] /= 1e3
    x = x.bfloat16()
    weight, bias = weights(generator, 40, 32), torch.zeros(40)
    weight[20:] /= 1e3
    out = torch.full((50, 40), float("nan")).bfloat16()
    packed(weight, bias, "words").run(array(x), array(out), threads=2, isa=isa)
    expected = x.double() @ weight.double().T
    for rows in (slice(25), slice(25, 50)):
        for outputs in (slice(20), slice(20, 40)):
            wanted = expected[rows, outputs]
            error = (out[rows, outputs].double() - wanted).abs().max()
            assert error <= 2.0**-7 * wanted.abs().max() + 1e-37


@pytest.mark.skipif(not WITH_WORDS, reason="no products of words on this CPU")
def test_words_only_of_the_instruction_sets_that_have_them():
    rows = np.zeros((2, 4), np.uint16)
    linear = _C.Linear(np.ones((4, 4), np.float32), np.ones(4, np.float32), "words")
    with pytest.raises(ValueError, match="avx2"):
        linear.run(rows, np.zeros_like(rows), isa="scalar")
    with pytest.raises(ValueError, match="bfloat16"):
        linear.run(np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="floats, pairs, words or tiles"):
        _C.Linear(np.ones((4, 4), np.float32), np.ones(4, np.float32), "bytes")


@pytest.mark.skipif(not _C.has_pairs(), reason="no products of pairs on this CPU")
def test_pairs_only_beside_the_instruction_set_that_is_asked_for(monkeypatch):
    rows = np.zeros((2, 4), np.uint16)
    linear = _C.Linear(np.ones((4, 4), np.float32), np.ones(4, np.float32), "pairs")
    with pytest.raises(ValueError, match="avx512vnni"):
        linear.run(rows, np.zeros_like(rows), isa="avx2")
    with pytest.raises(ValueError, match="bfloat16"):
        linear.run(np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32))
    monkeypatch.setenv("LIC_FAST_ISA", "avx2")
    assert not _C.fast_pairs()


@pytest.mark.skipif("amx" not in rans.instruction_sets(), reason="no tiles on this CPU")
def test_tiles_only_beside_the_instruction_set_that_is_asked_for(monkeypatch):
    rows = np.zeros((2, 4), np.uint16)
    linear = _C.Linear(np.ones((4, 4), np.float32), np.ones(4, np.float32), "tiles")
    with pytest.raises(ValueError, match="amx"):
        linear.run(rows, np.zeros_like(rows), isa="avx512vnni")
    with pytest.raises(ValueError, match="bfloat16"):
        linear.run(np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32))
    monkeypatch.delenv("LIC_FAST_ISA", raising=False)
    assert _C.multiplies_tiles()
    monkeypatch.setenv("LIC_FAST_ISA", "avx512vnni")
    assert not _C.multiplies_tiles()


@pytest.mark.skipif("amx" in rans.instruction_sets(), reason="there are tiles on this CPU")
def test_tiles_are_refused_where_there_are_none():
    with pytest.raises(ValueError, match="no tiles"):
        _C.Linear(np.ones((4, 4), np.float32), np.ones(4, np.float32), "tiles")
    assert not _C.multiplies_tiles()
