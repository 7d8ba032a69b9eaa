"""CdfTables: what is accepted, what is refused, and that they are values."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lic_fast.ans import BufferedRansEncoder, CdfTables, RansDecoder, RansEncoder
from tests.ans.strategies import messages, tables

ROWS = [[0, 9000, 65536], [0, 1, 2, 3, 65536], [0, 65536]]
SIZES = [3, 5, 2]
OFFSETS = [0, -4, 12]
PADDED = np.array([row + [0] * (5 - len(row)) for row in ROWS], np.int32)


def encode(*cdfs):
    return RansEncoder().encode_with_indexes([0, -3, 99, 12, 7], [0, 1, 0, 2, 1], *cdfs)


@pytest.mark.parametrize(
    "cdfs",
    [
        ROWS,
        tuple(map(tuple, ROWS)),
        PADDED,
        PADDED.tolist(),
        PADDED.astype(np.int64),
        PADDED.astype(np.uint32),
        np.asfortranarray(PADDED),
        np.repeat(PADDED, 2, axis=1)[:, ::2],
        torch.tensor(PADDED),
        torch.tensor(PADDED.T.copy()).T,
        [np.array(row) for row in ROWS],
        [torch.tensor(row) for row in ROWS],
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, np.int16], ids=lambda k: k.__name__)
def test_forms_of_tables(cdfs, kind):
    assert encode(CdfTables(cdfs, kind(SIZES), kind(OFFSETS))) == encode(ROWS, SIZES, OFFSETS)
    assert encode(cdfs, kind(SIZES), kind(OFFSETS)) == encode(ROWS, SIZES, OFFSETS)


@given(st.data())
def test_arrays_make_the_same_tables(data):
    given_tables = data.draw(tables())
    message = data.draw(messages(given_tables))
    made = CdfTables(*given_tables)
    assert len(made) == len(given_tables.sizes)
    cdfs, sizes, offsets = made.arrays()
    assert cdfs.shape == (len(made), max(given_tables.sizes))
    assert sizes.tolist() == given_tables.sizes
    assert offsets.tolist() == given_tables.offsets
    for row, size, source in zip(cdfs.tolist(), sizes.tolist(), given_tables.cdfs, strict=True):
        assert row[:size] == source[:size]
        assert not any(row[size:])
    stream = RansEncoder().encode_with_indexes(*message, made)
    again = RansEncoder().encode_with_indexes(*message, CdfTables(cdfs, sizes, offsets))
    assert again == stream


def test_copies():
    made = CdfTables(ROWS, SIZES, OFFSETS)
    assert copy.copy(made) is made
    assert copy.deepcopy([made])[0] is made
    assert encode(pickle.loads(pickle.dumps(made))) == encode(made)
    assert repr(made) == "<CdfTables: 3>"


def test_later_changes_of_the_arrays_do_not_matter():
    cdfs, sizes, offsets = PADDED.copy(), np.array(SIZES), np.array(OFFSETS)
    made = CdfTables(cdfs, sizes, offsets)
    before = encode(made)
    cdfs[:], sizes[:], offsets[:] = -1, -1, -1
    for array in made.arrays():
        array[:] = 77
    assert encode(made) == before


@pytest.mark.parametrize(
    ("cdfs", "sizes", "offsets", "message"),
    [
        ([[1, 9, 65536]], [3], [0], r"cdfs\[0\] goes from 1 to 65536"),
        ([[0, 9, 65535]], [3], [0], r"cdfs\[0\] goes from 0 to 65535"),
        ([[0, 9, 65536], [0, 9, 9, 65536]], [3, 4], [0, 0], r"cdfs\[1\] does not rise at entry 2"),
        ([[0, 70000, 65536]], [3], [0], r"does not rise at entry 2: 70000, 65536"),
        ([[0, -5, 65536]], [3], [0], r"does not rise at entry 1: 0, -5"),
        ([[0, 9, 65536]], [2], [0], r"cdfs\[0\] goes from 0 to 9"),
        ([[0, 9, 65536]], [4], [0], r"cdfs_sizes\[0\] is 4; cdfs\[0\] has 3 entries"),
        ([[0, 9, 65536]], [1], [0], r"cdfs_sizes\[0\] is 1; .* at least 2"),
        ([[0, 9, 65536]], [0], [0], r"cdfs_sizes\[0\] is 0"),
        ([[0, 9, 65536]], [-3], [0], r"cdfs_sizes\[0\] is -3"),
        ([[]], [2], [0], r"cdfs\[0\] has 0 entries"),
        (np.zeros((1, 0), int), [2], [0], r"cdfs\[0\] has 0 entries"),
        (PADDED, SIZES, [0, 0], "cdfs has 3 tables, cdfs_sizes 3 and offsets 2"),
        (PADDED, [3, 5], OFFSETS, "cdfs has 3 tables, cdfs_sizes 2 and offsets 3"),
        (PADDED[:2], SIZES, OFFSETS, "cdfs has 2 tables, cdfs_sizes 3 and offsets 3"),
        ([], [], [], "there are no CDF tables"),
        (torch.zeros(0, 3).int(), torch.zeros(0).int(), torch.zeros(0).int(), "no CDF tables"),
        (PADDED[0], [3], [0], r"cdfs has shape \(5,\)"),
        (torch.IntTensor(), torch.IntTensor(), torch.IntTensor(), r"cdfs has shape \(0,\)"),
        (PADDED[None], [3], [0], r"cdfs has shape \(1, 3, 5\)"),
        ([PADDED], [3], [0], r"cdfs\[0\] has shape \(3, 5\)"),
        (PADDED, np.array([SIZES]), OFFSETS, r"cdfs_sizes has shape \(1, 3\)"),
        (PADDED, SIZES, np.array([OFFSETS]), r"offsets has shape \(1, 3\)"),
        ([[0, 1, 2, 65536]], [4], [(1 << 31) - 1], r"offsets\[0\] is 2147483647"),
    ],
)
def test_wrong_tables(cdfs, sizes, offsets, message):
    with pytest.raises(ValueError, match=message):
        CdfTables(cdfs, sizes, offsets)
    calls = [
        lambda: RansEncoder().encode_with_indexes([0], [0], cdfs, sizes, offsets),
        lambda: BufferedRansEncoder().encode_with_indexes([0], [0], cdfs, sizes, offsets),
        lambda: RansDecoder().decode_with_indexes(bytes(8), [0], cdfs, sizes, offsets),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message if call is not calls[2] else "."):
            call()


def test_the_largest_offset_of_a_table():
    made = CdfTables([[0, 1, 2, 65536]], [4], [(1 << 31) - 2])
    symbols = [(1 << 31) - 2, (1 << 31) - 1]
    stream = RansEncoder().encode_with_indexes(symbols, [0, 0], made)
    assert RansDecoder().decode_with_indexes(stream, [0, 0], made) == symbols


@pytest.mark.parametrize(
    ("cdfs", "sizes", "offsets", "name"),
    [
        (PADDED.astype(float), SIZES, OFFSETS, "cdfs"),
        ([[0.0, 65536.0]], [2], [0], r"cdfs\[0\]\[0\]"),
        ([7], [2], [0], r"cdfs\[0\]"),
        (7, [2], [0], "cdfs"),
        ("ab", [2], [0], "cdfs"),
        (PADDED, 3, OFFSETS, "cdfs_sizes"),
        (PADDED, SIZES, [0, 0, "0"], r"offsets\[2\]"),
        (PADDED, SIZES, torch.zeros(3), "offsets"),
    ],
)
def test_tables_that_are_no_integers(cdfs, sizes, offsets, name):
    with pytest.raises(TypeError, match=name):
        CdfTables(cdfs, sizes, offsets)


def test_tables_beyond_32_bits():
    with pytest.raises(OverflowError, match=r"cdfs\[0\]\[1\] is 8589934592"):
        CdfTables([[0, 1 << 33]], [2], [0])
    with pytest.raises(OverflowError, match=r"offsets\[0\] is 8589934592"):
        CdfTables([[0, 65536]], [2], np.array([1 << 33]))


def test_prepared_tables_exclude_the_other_arguments():
    made = CdfTables(ROWS, SIZES, OFFSETS)
    with pytest.raises(TypeError, match="already hold"):
        encode(made, SIZES, OFFSETS)
    with pytest.raises(TypeError, match="already hold"):
        RansDecoder().decode_with_indexes(encode(made), [0], made, SIZES)
    with pytest.raises(TypeError, match="are needed"):
        encode(ROWS)
    with pytest.raises(TypeError, match="are needed"):
        encode(ROWS, SIZES)
    with pytest.raises(TypeError):
        CdfTables(made)


def test_a_table_of_every_slot():
    made = CdfTables([list(range(65537))], [65537], [-5])
    symbols = np.arange(-5, 65530, 7)
    indexes = np.zeros_like(symbols)
    stream = RansEncoder().encode_with_indexes(symbols, indexes, made)
    decoded = RansDecoder().decode_with_indexes(stream, indexes, made)
    np.testing.assert_array_equal(decoded, symbols)
