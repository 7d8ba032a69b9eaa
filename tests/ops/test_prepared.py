"""What is prepared of weights follows them, however they are written to and read."""

from contextvars import copy_context

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import _C
from lic_fast.ops import prepared
from lic_fast.ops.prepared import read_at_once


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 7, 8, 32, 1000, 3 << 20]), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_a_digest_sees_every_byte_on_any_number_of_threads(sizes, seed):
    generator = np.random.default_rng(seed)
    pieces = [generator.integers(0, 256, size, np.uint8) for size in sizes]

    def digests(threads, chosen=slice(None)):
        where = [(piece.ctypes.data, piece.nbytes) for piece in pieces[chosen]]
        return _C.digests(where, threads)

    before = digests(1)
    assert digests(2) == digests(3) == before
    for i in range(len(pieces)):
        assert digests(2, slice(i, i + 1)) == [before[i]]
    filled = [i for i, piece in enumerate(pieces) if piece.size]
    if filled:
        changed = filled[generator.integers(len(filled))]
        piece = pieces[changed]
        piece[generator.integers(piece.size)] ^= 1 << generator.integers(8)
        after = digests(2)
        assert digests(1) == after
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            assert (old != new) == (i == changed)


class Sums:
    """The sum of the sources, and how often it was computed."""

    def __init__(self):
        self.count = 0

    def __call__(self, *sources):
        def build():
            self.count += 1
            return sum(float(source.sum()) for source in sources)

        return prepared("sum", sources, build)


def written(tensor, way):
    with torch.no_grad():
        if way == "in place":
            tensor.add_(1)
        elif way == "data":
            tensor.data.add_(1)
        else:
            tensor.data = tensor.data + 1


@pytest.mark.parametrize("way", ["in place", "data", "new data"])
@pytest.mark.parametrize("together", [False, True])
def test_a_value_follows_its_sources(way, together):
    group = [torch.nn.Parameter(torch.ones(3, 5)), torch.nn.Parameter(torch.ones(1000))]
    derived = torch.ones(4)  # of no group
    sums = Sums()

    def found():
        return sums(*group), sums(group[1], derived)

    def read():
        if not together:
            return found()
        with read_at_once(lambda tensor: group if any(tensor is t for t in group) else None):
            return [found() for _ in range(3)][-1]

    assert read() == (1015, 1004)
    assert read() == (1015, 1004)
    assert sums.count == 2
    written(group[1], way)
    assert read() == (2015, 2004)
    written(derived, way)
    assert read() == (2015, 2008)
    assert sums.count == 5


def test_a_value_is_the_same_one_within_a_block_and_outside():
    weight, sums = torch.ones(7), Sums()
    sums(weight)
    with read_at_once(lambda _: [weight]):
        sums(weight)
    sums(weight)
    assert sums.count == 1


def test_what_is_written_within_a_block_is_seen_by_version_and_address():
    group = [torch.nn.Parameter(torch.ones(5)), torch.nn.Parameter(torch.ones(6))]
    sums = Sums()
    with read_at_once(lambda _: group):
        assert sums(*group) == 11
        written(group[0], "in place")
        assert sums(*group) == 16
        written(group[1], "new data")
        assert sums(*group) == 22


def test_a_group_is_read_once(monkeypatch):
    weights = [torch.ones(5), torch.ones(6), torch.ones(7)]
    reads = []
    digests = _C.digests
    monkeypatch.setattr(
        _C, "digests", lambda pieces, threads: reads.append(len(pieces)) or digests(pieces, threads)
    )
    sums = Sums()
    with read_at_once(lambda _: weights):
        for weight in weights:
            sums(weight)
        with read_at_once(lambda _: None):  # of an inner call
            sums(*weights)
    assert [count for count in reads if count] == [3]


def test_what_was_read_is_forgotten_with_the_block():
    weight, sums = torch.ones(5), Sums()
    with read_at_once(lambda _: [weight]):
        assert sums(weight) == 5
        context = copy_context()
    weight.data.add_(1)
    assert context.run(sums, weight) == 10


def test_other_tensors_are_read_by_themselves():
    weights, other = [torch.ones(5)], torch.ones(6)
    with torch.inference_mode():
        frozen = torch.ones(8)
    sums = Sums()
    with read_at_once(lambda tensor: [*weights, frozen]):  # not `other`, whatever is asked
        assert sums(other) == 6
        other.data.add_(1)
        assert sums(other) == 12
        assert sums(frozen) == 8
        with torch.inference_mode():
            frozen.add_(1)  # without a version counter
        assert sums(frozen) == 16
