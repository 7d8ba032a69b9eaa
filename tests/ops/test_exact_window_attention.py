"""Exact window attention: close to the operator in floating point, the same in any order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C, backend, rans
from lic_fast.ops import exact_window_attention, window_attention
from lic_fast.ops.exact_window_attention import LARGEST, bias_of_pairs, reference


def operands(window, heads, size, rows=2, columns=3, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    channels = heads * size
    shape = (batch, rows * window, columns * window, 3 * channels)
    qkv = torch.randn(shape, generator=generator)
    table = torch.randn((2 * window - 1) ** 2, heads, generator=generator)
    largest = float(qkv.abs().max())
    inverse = torch.full((3 * channels,), LARGEST / largest)
    step = 1 / inverse.double()
    scale = (step[:heads] ** 2 * size**-0.5).float()
    return qkv, inverse, scale, table, step[:channels].float()


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(2, 0), (2, 1), (4, 2), (8, 4), (4, 0)]),
    st.integers(1, 3),
    st.sampled_from([4, 16]),
    st.integers(0, 99),
)
def test_it_is_window_attention_up_to_the_steps(window_shift, heads, size, seed):
    window, shift = window_shift
    qkv, *numbers = operands(window, heads, size, seed=seed)
    found = exact_window_attention(qkv, *numbers, window_size=window, shift=shift)
    expected = window_attention(
        qkv, numbers[2], window_size=window, shift=shift, mask_value=float("-inf")
    )
    # Steps of about 4 / 1023 in queries and keys move a logit by some hundredths.
    assert (found - expected).abs().max() < 0.1
    assert (found - expected).abs().mean() < 0.01


@pytest.mark.parametrize("isa", rans.instruction_sets())
@settings(max_examples=30, deadline=None)
@given(
    window_shift=st.integers(1, 8).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w - 1))),
    heads=st.integers(1, 3),
    size=st.integers(1, 20) | st.sampled_from([32, 64]),
    sides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_every_instruction_set_gives_the_bits_of_the_definition(
    isa, window_shift, heads, size, sides, threads, seed
):
    window, shift = window_shift
    qkv, inverse, scale, table, step = operands(window, heads, size, *sides, batch=2, seed=seed)
    qkv[0] *= 3  # some beyond the range of the integers
    out = torch.full((*qkv.shape[:3], heads * size), float("nan"))
    bias = bias_of_pairs(table, window)
    arrays = [tensor.numpy() for tensor in (qkv, inverse, scale, bias, step, out)]
    _C.exact_window_attention(*arrays, window, shift, threads, isa)
    assert torch.equal(out, reference(qkv, inverse, scale, table, step, window, shift))


def test_windows_that_the_fast_path_does_not_take_are_the_definition():
    qkv, *numbers = operands(9, 1, 4, 1, 1)
    found = exact_window_attention(qkv, *numbers, window_size=9, shift=4)
    with backend("reference"):
        assert torch.equal(found, exact_window_attention(qkv, *numbers, window_size=9, shift=4))
    for change in ({"window": 9}, {"shift": 4}):
        qkv, inverse, scale, table, step = operands(4, 1, 4, 1, 1)
        arguments = {"window": 4, "shift": 0, "threads": 1} | change
        arrays = [
            t.numpy() for t in (qkv, inverse, scale, bias_of_pairs(table, 4), step, qkv[..., :4])
        ]
        arrays[-1] = arrays[-1].copy()
        with pytest.raises(ValueError, match=r"1\.\.8"):
            _C.exact_window_attention(*arrays, **arguments)


@pytest.mark.parametrize("shift", [0, 2])
def test_bits_do_not_depend_on_batch_layout_or_neighbours(shift):
    qkv, *numbers = operands(4, 2, 8, batch=2)
    found = exact_window_attention(qkv, *numbers, window_size=4, shift=shift)
    one = exact_window_attention(qkv[1:], *numbers, window_size=4, shift=shift)
    assert torch.equal(found[1:], one)
    strided = qkv.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert torch.equal(found, exact_window_attention(strided, *numbers, window_size=4, shift=shift))
    if shift == 0:
        qkv[:, :4, :4] = 9e9
        other = exact_window_attention(qkv, *numbers, window_size=4)
        assert torch.equal(found[:, 4:], other[:, 4:])
        assert torch.equal(found[:, :4, 4:], other[:, :4, 4:])


def test_tokens_that_only_the_shift_brought_together_do_not_see_each_other():
    qkv, *numbers = operands(4, 1, 8, rows=1, columns=2)
    found = exact_window_attention(qkv, *numbers, window_size=4, shift=2)
    qkv[:, :2] += 1
    other = exact_window_attention(qkv, *numbers, window_size=4, shift=2)
    assert torch.equal(found[:, 2:], other[:, 2:])
    assert not torch.equal(found[:, :2], other[:, :2])


def test_extreme_logits_give_the_value_of_the_largest():
    qkv, inverse, scale, table, step = operands(2, 1, 4, 1, 1)
    table[:] = 0
    table[4] = 1e9  # of a token with itself
    found = exact_window_attention(qkv, inverse, scale, table, step, window_size=2)
    values = (qkv[..., 8:] * inverse[8:]).round() * step
    assert torch.equal(found, values)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"qkv": torch.zeros(1, 4, 4, 24).double()}, TypeError, "float32"),
        ({"qkv": torch.zeros(1, 3, 4, 24)}, ValueError, "whole windows of 2"),
        ({"table": torch.zeros(4, 2)}, ValueError, r"table must be \(9, 2\)"),
        ({"inverse_step": torch.zeros(8)}, ValueError, r"inverse_step must be \(24,\)"),
        ({"shift": 2}, ValueError, r"0\.\.1, not 2"),
        ({"scale": torch.zeros(3), "table": torch.zeros(9, 3)}, ValueError, "3 x 3 heads"),
    ],
)
def test_operands_that_do_not_fit_are_refused(change, error, message):
    names = ("qkv", "inverse_step", "scale", "table", "value_step")
    arguments = dict(zip(names, operands(2, 2, 4, 2, 2), strict=True))
    with pytest.raises(error, match=message):
        exact_window_attention(**(arguments | {"window_size": 2} | change))
