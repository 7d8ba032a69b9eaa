"""Gradients of window attention by csrc/attention against their definition in PyTorch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops import window_attention as attend
from lic_fast.ops.window_attention import reference, reference_backward

ISAS = rans.instruction_sets()
DTYPES = [torch.float32, torch.bfloat16]


def array(tensor):
    if tensor is None:
        return None
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def poisoned(like):
    return None if like is None else torch.full_like(like, math.nan)


def gradients(grad, qkv, table, pad, window, shift, mask_value, scale, isa, threads=2):
    """What the extension writes into arrays of NaN."""
    grads = (poisoned(qkv), poisoned(table), poisoned(pad))
    _C.window_attention_backward(
        *map(array, (grad, qkv, table, pad, *grads)),
        window, shift, scale, mask_value, threads, isa,
    )  # fmt: skip
    return grads


def of_doubles(grad, qkv, table, pad, *numbers):
    wide = (None if x is None else x.double() for x in (grad, qkv, table, pad))
    return reference_backward(*wide, *numbers)


def assert_near(actual, expected, tolerance):
    """Within a share of the largest number that was expected, so much as there is of each."""
    for a, b in zip(actual, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            largest = b.abs().max().item()
            own = 2**-8 if a.dtype == torch.bfloat16 else 0  # rounding
            torch.testing.assert_close(a.double(), b, rtol=own, atol=tolerance * max(largest, 1e-3))


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=40, deadline=None)
@given(
    window=st.sampled_from([1, 2, 3, 4, 5, 7, 8]),
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    dim=st.sampled_from([1, 5, 8, 12, 16, 24, 32, 40]),
    shift=st.integers(0, 7),
    padded=st.booleans(),
    mask_value=st.sampled_from([-100.0, float("-inf")]),
    dtype=st.sampled_from(DTYPES),
    threads=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_every_instruction_set_is_the_definition(
    isa, window, sides, batch, heads, dim, shift, padded, mask_value, dtype, threads, seed
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    grad = normal(batch, *sides, heads * dim).to(dtype)
    qkv = normal(batch, *sides, 3 * heads * dim).to(dtype)
    table = normal((2 * window - 1) ** 2, heads)
    pad = normal(3 * heads * dim) if padded else None
    numbers = (window, shift % window, mask_value, dim**-0.5)
    actual = gradients(grad, qkv, table, pad, *numbers, isa, threads)
    assert_near(actual, of_doubles(grad, qkv, table, pad, *numbers), 2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("window", "shift", "heads", "dim"),
    [(16, 5, 2, 8), (12, 0, 1, 20), (8, 4, 8, 8), (4, 2, 8, 24)],
)
def test_the_models_windows_and_the_largest(isa, window, shift, heads, dim, dtype):
    torch.manual_seed(0)
    grad = torch.randn(2, 20, 35, heads * dim).to(dtype)
    qkv = torch.randn(2, 20, 35, 3 * heads * dim).to(dtype)
    table, pad = torch.randn((2 * window - 1) ** 2, heads), torch.randn(3 * heads * dim)
    numbers = (window, shift, -100.0, dim**-0.5)
    actual = gradients(grad, qkv, table, pad, *numbers, isa)
    assert_near(actual, of_doubles(grad, qkv, table, pad, *numbers), 2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("window", "heads", "dim"), [(4, 3, 16), (8, 2, 8), (5, 2, 7)])
def test_the_bits_do_not_depend_on_threads(isa, window, heads, dim, dtype):
    torch.manual_seed(0)
    operands = (
        torch.randn(3, 21, 18, heads * dim).to(dtype),
        torch.randn(3, 21, 18, 3 * heads * dim).to(dtype),
        torch.randn((2 * window - 1) ** 2, heads),
        torch.randn(3 * heads * dim),
        window, window // 2, -100.0, 0.3, isa,
    )  # fmt: skip
    alone = gradients(*operands, threads=1)
    for threads in (1, 2, 3, 4):
        for a, b in zip(gradients(*operands, threads=threads), alone, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("isa", ISAS)
def test_gradients_of_qkv_do_not_depend_on_the_batch(isa):
    torch.manual_seed(0)
    grad, qkv = torch.randn(3, 9, 10, 16), torch.randn(3, 9, 10, 48)
    table, numbers = torch.randn(49, 2), (4, 2, -100.0, 0.3)
    whole = gradients(grad, qkv, table, None, *numbers, isa)[0]
    for i in range(3):
        one = gradients(grad[i : i + 1], qkv[i : i + 1], table, None, *numbers, isa)[0]
        assert torch.equal(one[0], whole[i])


@pytest.mark.parametrize("isa", ISAS)
def test_sharp_softmaxes_have_finite_gradients(isa):
    # Weights of zero and one: gradients of logits vanish, those of values are the result's.
    torch.manual_seed(0)
    grad, qkv = torch.randn(1, 8, 8, 16), torch.randn(1, 8, 8, 48) * 100
    table, numbers = torch.randn(49, 2) * 100, (4, 2, float("-inf"), 1.0)
    actual = gradients(grad, qkv, table, None, *numbers, isa)
    # Logits near 1e5 are off by 1e-2 in float32, and a few queries have two that are close.
    assert_near(actual, of_doubles(grad, qkv, table, None, *numbers), 0.1)


@pytest.mark.parametrize("isa", ISAS)
def test_what_is_not_finite_stays_so_and_in_its_window(isa):
    torch.manual_seed(0)
    grad, qkv = torch.randn(1, 8, 8, 16), torch.randn(1, 8, 8, 48)
    grad[0, 1, 2, 5] = math.nan
    qkv[0, 6, 6, 3] = math.inf  # a query's
    of_qkv, of_table, _ = gradients(grad, qkv, torch.zeros(49, 1), None, 4, 0, -100.0, 1.0, isa)
    assert not of_qkv[0, 1, 2, :16].isfinite().any()
    assert not of_qkv[0, 6, 6, :16].isfinite().any()
    assert of_qkv[0, :4, 4:].isfinite().all()
    assert of_qkv[0, 4:, :4].isfinite().all()
    assert not of_table.isfinite().all()


def autograd(qkv, table, pad, grad, compute):
    leaves = [x.detach().clone().requires_grad_() for x in (qkv, table, pad)]
    return torch.autograd.grad(compute(*leaves), leaves, grad)


@pytest.mark.parametrize("window", [4, 8])
def test_the_operators_gradients_are_autograds_of_the_definition_in_float64(window):
    torch.manual_seed(0)
    qkv, table = torch.randn(2, 11, 14, 48), torch.randn((2 * window - 1) ** 2, 2)
    pad, grad = torch.randn(48), torch.randn(2, 11, 14, 16)

    def fused(qkv, table, pad):
        return attend(qkv, table, window_size=window, shift=window // 2, pad_value=pad)

    def plain(qkv, table, pad):
        return reference(qkv, table, pad, window, window // 2, -100.0, 8**-0.5)

    actual = autograd(qkv, table, pad, grad, fused)
    wide = autograd(*(x.double() for x in (qkv, table, pad, grad)), plain)
    assert_near(actual, wide, 2e-6)


def test_a_gradient_that_is_no_contiguous_tensor_of_the_maps_type():
    torch.manual_seed(0)
    qkv, table, pad = torch.randn(2, 6, 9, 48).bfloat16(), torch.randn(49, 2), torch.randn(48)
    grad = torch.randn(2, 16, 6, 9).permute(0, 2, 3, 1)
    operator = torch.ops.lic_fast.window_attention_backward
    actual = operator(grad, qkv, table, pad.bfloat16(), 4, 2, -100.0, 0.3, [True, True, True])
    assert [x.dtype for x in actual] == [torch.bfloat16, torch.float32, torch.bfloat16]
    wide = of_doubles(grad.bfloat16(), qkv, table, pad.bfloat16(), 4, 2, -100.0, 0.3)
    assert_near(actual, wide, 2e-5)


def test_what_is_not_asked_for_is_empty():
    grad, qkv, table, pad = (torch.randn(s) for s in ((1, 5, 5, 16), (1, 5, 5, 48), (49, 2), (48,)))
    operator = torch.ops.lic_fast.window_attention_backward
    arguments = (grad, qkv, table, pad, 4, 2, -100.0, 0.3)
    everything = operator(*arguments, [True, True, True])
    for wanted in range(3):
        mask = [i == wanted for i in range(3)]
        for i, x in enumerate(operator(*arguments, mask)):
            assert torch.equal(x, everything[i]) if mask[i] else x.numel() == 0


@pytest.mark.parametrize("why", ["backend", "float64", "table"])
def test_what_the_extension_does_not_take_goes_to_the_definition(why):
    torch.manual_seed(0)
    grad, qkv, table = torch.randn(1, 5, 6, 16), torch.randn(1, 5, 6, 48), torch.randn(49, 2)
    if why == "float64":
        grad, qkv, table = grad.double(), qkv.double(), table.double()
    if why == "table":
        grad, qkv, table = grad.bfloat16(), qkv.bfloat16(), table.bfloat16()
    operator = torch.ops.lic_fast.window_attention_backward
    with backend("reference" if why == "backend" else "auto"):
        actual = operator(grad, qkv, table, None, 4, 2, -100.0, 0.3, [True, True, False])
    expected = reference_backward(grad, qkv, table, None, 4, 2, -100.0, 0.3)
    assert torch.equal(actual[0], expected[0])
    assert torch.equal(actual[1], expected[1])


def test_windows_larger_than_the_extension_takes():
    torch.manual_seed(0)
    grad, qkv, table = torch.randn(1, 17, 18, 4), torch.randn(1, 17, 18, 12), torch.randn(33**2, 1)
    operator = torch.ops.lic_fast.window_attention_backward
    actual = operator(grad, qkv, table, None, 17, 3, -100.0, 0.3, [True, True, False])
    expected = reference_backward(grad, qkv, table, None, 17, 3, -100.0, 0.3)
    assert torch.equal(actual[0], expected[0])


def test_a_map_without_tokens():
    actual = gradients(
        torch.zeros(0, 4, 4, 16), torch.zeros(0, 4, 4, 48), torch.ones(49, 2), torch.ones(48),
        4, 0, -100.0, 1.0, None,
    )  # fmt: skip
    assert actual[0].numel() == 0
    assert not actual[1].any()
    assert not actual[2].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 17}, "window or shift"),
        ({"shift": 4}, "window or shift"),
        ({"bias_table": torch.zeros(48, 2)}, "bias table's length"),
        ({"qkv": torch.zeros(1, 4, 4, 50)}, "do not divide"),
        ({"grad": torch.zeros(1, 4, 5, 16)}, "grad has another shape than qkv"),
        ({"grad": torch.zeros(1, 4, 4, 15)}, "grad has another number of channels"),
        ({"grad": torch.zeros(4, 4, 16)}, "grad must be"),
        ({"grad_qkv": torch.zeros(1, 4, 4, 45)}, "grad_qkv has another shape"),
        ({"grad_qkv": torch.zeros(4, 4, 48)}, "grad_qkv has another shape"),
        ({"grad_bias_table": torch.zeros(49, 1)}, "grad_bias_table has another shape"),
        ({"pad_value": torch.zeros(47)}, "pad_value must be"),
        ({"pad_value": None}, "no pad_value"),
        ({"grad_pad_value": torch.zeros(47)}, "grad_pad_value has another shape"),
        ({"isa": "mmx"}, "this CPU has"),
    ],
)
def test_the_extension_checks_what_it_is_given(changes, message):
    arguments = {
        "grad": torch.zeros(1, 4, 4, 16),
        "qkv": torch.zeros(1, 4, 4, 48),
        "bias_table": torch.zeros(49, 2),
        "pad_value": torch.zeros(48),
        "grad_qkv": torch.zeros(1, 4, 4, 48),
        "grad_bias_table": torch.zeros(49, 2),
        "grad_pad_value": torch.zeros(48),
        "window": 4,
        "shift": 0,
        "scale": 1.0,
        "mask_value": 0.0,
        "threads": 1,
    } | changes
    arrays = {k: array(v) if torch.is_tensor(v) else v for k, v in arguments.items()}
    with pytest.raises(ValueError, match=message):
        _C.window_attention_backward(**arrays)
