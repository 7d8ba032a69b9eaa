"""Stamps of tensors change with what is written to them, and only then."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lic_fast
from lic_fast import _C
from lic_fast.ops.stamp import stamp

# Elements of float32 up to which a tensor is read as a whole, and some beyond.
WHOLE = 1024
SIZES = [(1,), (WHOLE,), (192, 48), (96, 64, 3, 3), (3, 5, 7, 77)]


def weight(*shape, seed=0):
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def changed(tensor, write):
    """Whether the stamp sees it; twice, since it must not change by being asked for."""
    before = stamp([tensor])
    assert before == stamp([tensor])
    with torch.no_grad():
        write(tensor)
    return before != stamp([tensor])


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize(
    "write",
    [
        lambda w: w.neg_(),
        lambda w: w.copy_(w.flip(0) + 1),
        lambda w: w[-1:].neg_(),
        lambda w: w.view(-1)[-1:].zero_(),
        lambda w: torch._foreach_lerp_([w], [torch.zeros_like(w)], 0.01),
        lambda w: nn.init.zeros_(w),
    ],
)
def test_everything_that_moves_the_version_counter_is_seen(shape, write):
    assert changed(weight(*shape), write)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize(
    "write",
    [
        lambda w: w.data.neg_(),
        lambda w: w.data.mul_(1 + 2**-20),
        lambda w: w.data.copy_(w.data.flip(-1).neg()),
        lambda w: torch._foreach_lerp_([w.data], [torch.zeros_like(w)], 0.01),
        lambda w: w.detach().numpy().__iadd__(np.float32(1)),
        lambda w: setattr(w, "data", w.data.clone()),
        lambda w: setattr(w, "data", w.data.double()),
    ],
)
def test_writes_past_the_version_counter_to_a_whole_tensor_are_seen(shape, write):
    assert changed(weight(*shape), write)


@pytest.mark.parametrize("shape", [(64, 32), (40, 50, 3, 3)])
def test_permuted_channels_are_seen(shape):
    for dim in (0, 1):
        w = weight(*shape)
        order = torch.randperm(shape[dim], generator=torch.Generator().manual_seed(1))
        assert changed(w, lambda w, dim=dim, order=order: w.data.copy_(w.index_select(dim, order)))


@settings(max_examples=100, deadline=None)
@given(
    size=st.sampled_from([1, 7, 8, 9, 4095, 4096, 4097, 5000, 70_001]),
    begin=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_short_pieces_are_read_as_a_whole_and_long_ones_in_runs(size, begin, seed):
    generator = np.random.default_rng(seed)
    piece = generator.integers(0, 256, size, np.uint8)
    # Two runs of whole words, and a byte more so that they cannot lie beside them.
    length = 1 if size <= 4096 else 2 * 8 * (size // 8 // 64 + 2)
    place = int(begin * (size - length))

    def look():
        return _C.hash_of_samples([(piece.ctypes.data, piece.nbytes)])

    before = look()
    assert before == look()
    piece[place : place + length] ^= 1 << generator.integers(8)
    assert before != look()


def test_flips_of_the_top_bit_do_not_cancel():
    for words in range(1, 9):
        piece = np.arange(2 * words, dtype=np.float32) + 1
        address = [(piece.ctypes.data, piece.nbytes)]
        before = _C.hash_of_samples(address)
        piece *= -1
        assert before != _C.hash_of_samples(address)


def test_one_row_in_a_few_is_seen_in_any_memory_format():
    w = weight(16, 32, 3, 3)
    w.data = w.data.to(memory_format=torch.channels_last)
    for row in range(16):
        assert changed(w, lambda w, row=row: w.data[row].neg_())
    transposed = weight(64, 96).data.T
    assert changed(transposed, lambda w: w.detach().data[:, :8].neg_())


def test_a_view_with_gaps_is_read_without_what_is_between():
    whole = torch.zeros(64, 64)
    view = whole[:, ::2].detach()
    before = stamp([view])
    whole.data[:, 1::2] += 1
    assert stamp([view])[3:] == before[3:]
    whole.data[3:, 2] += 1
    assert stamp([view]) != before


def test_tensors_of_inference_mode_are_seen_by_their_words():
    with torch.inference_mode():
        w = torch.randn(300, 300)
        before = stamp([w])
        assert before == stamp([w])
        w.add_(1)
    assert before != stamp([w])


def test_of_what_has_no_memory_nothing_is_kept():
    class Own(torch.Tensor):
        pass

    own = torch.ones(3).as_subclass(Own)
    assert stamp([own]) != stamp([own])
    sparse = torch.eye(3).to_sparse()
    assert stamp([sparse]) != stamp([sparse])


@pytest.mark.parametrize("inference", [False, True])
def test_refresh_is_for_writes_that_leave_no_trace(inference):
    with torch.inference_mode(inference):
        layer = nn.Linear(400, 400, bias=False)
    layer.register_buffer("scale", torch.ones(2000))
    unseen = next(  # found by looking, as its place is no promise
        i for i in range(1000) if not changed(layer.weight, lambda w, i=i: _poke(w, i))
    )
    for tensor in (layer.weight, layer.scale):
        before = stamp([tensor])
        lic_fast.refresh(layer)
        assert before != stamp([tensor])
        assert stamp([tensor]) == stamp([tensor])
    assert unseen >= 0


def _poke(w, i):
    w.detach().numpy().reshape(-1)[i] += 1


def test_a_column_of_a_matrix_is_seen_by_the_counter():
    assert changed(weight(192, 48), lambda w: w.detach()[:, 1].neg_())


def test_a_transpose_in_the_place_of_a_matrix_is_seen():
    assert changed(weight(8, 8), lambda w: setattr(w, "data", w.data.t()))
