"""What may be coded: lists, arrays and tensors of integers, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from lic_fast.ans import BufferedRansEncoder, CdfTables, RansDecoder, RansEncoder

CDFS = ([[0, 9000, 50000, 65000, 65536], [0, 300, 60000, 65536]], [5, 4], [0, 0])
TABLES = CdfTables(*CDFS)
RNG = np.random.default_rng(3)
SYMBOLS = RNG.integers(0, 6, (3, 4, 5))
INDEXES = RNG.integers(0, 2, (3, 4, 5))
STREAM = RansEncoder().encode_with_indexes(
    SYMBOLS.ravel().tolist(), INDEXES.ravel().tolist(), *CDFS
)
DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i2", ">i4"]
TORCH_DTYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


def encode(symbols, indexes, *tables):
    return RansEncoder().encode_with_indexes(symbols, indexes, *(tables or [TABLES]))


def decode(indexes, **out):
    return RansDecoder().decode_with_indexes(STREAM, indexes, TABLES, **out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_integer_type(dtype):
    assert encode(SYMBOLS.astype(dtype), INDEXES.astype("int32")) == STREAM
    assert encode(SYMBOLS.astype("int32"), INDEXES.astype(dtype)) == STREAM
    assert encode(SYMBOLS.astype(dtype), INDEXES.astype(dtype)) == STREAM
    symbols = decode(INDEXES.astype(dtype))
    assert symbols.dtype == np.int32
    assert symbols.shape == SYMBOLS.shape
    np.testing.assert_array_equal(symbols, SYMBOLS)


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_tensors_of_every_integer_type(dtype):
    symbols, indexes = torch.tensor(SYMBOLS, dtype=dtype), torch.tensor(INDEXES, dtype=dtype)
    assert encode(symbols, indexes) == STREAM
    decoded = decode(indexes)
    assert isinstance(decoded, torch.Tensor)
    assert decoded.dtype == torch.int32
    assert torch.equal(decoded, torch.tensor(SYMBOLS, dtype=torch.int32))


def test_lists_give_lists_of_int():
    symbols = decode(INDEXES.ravel().tolist())
    assert type(symbols) is list
    assert {type(symbol) for symbol in symbols} == {int}
    assert symbols == SYMBOLS.ravel().tolist()
    assert decode(tuple(INDEXES.ravel())) == symbols  # a tuple of NumPy integers


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_memory_that_is_not_contiguous(dtype):
    wide = np.repeat(SYMBOLS, 2, axis=2).astype(dtype)
    by = np.repeat(INDEXES, 3, axis=0).astype(dtype)
    assert encode(wide[:, :, ::2], by[1::3]) == STREAM
    assert encode(np.ascontiguousarray(SYMBOLS.astype(dtype)[::-1])[::-1], by[::3]) == STREAM
    columns = np.asfortranarray(INDEXES.astype(dtype))
    assert encode(np.asfortranarray(SYMBOLS.astype(dtype)), columns) == STREAM
    np.testing.assert_array_equal(decode(columns), SYMBOLS)
    np.testing.assert_array_equal(decode(by[::3]), SYMBOLS)
    tensor = torch.tensor(SYMBOLS.astype(dtype)).permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not tensor.is_contiguous()
    assert encode(tensor, columns) == STREAM


def test_memory_that_is_not_aligned():
    raw = b"x" + SYMBOLS.astype("int32").tobytes()
    symbols = np.frombuffer(raw, "int32", offset=1).reshape(SYMBOLS.shape)
    assert not symbols.flags.aligned
    assert encode(symbols, INDEXES) == STREAM


def test_repeated_memory():
    indexes = np.broadcast_to(np.int32(1), (2, 3))
    stream = encode(np.broadcast_to(np.int16(2), (2, 3)), indexes)
    assert stream == encode([2] * 6, [1] * 6)
    np.testing.assert_array_equal(
        RansDecoder().decode_with_indexes(stream, indexes, TABLES), np.full((2, 3), 2)
    )


@pytest.mark.parametrize("make", [np.zeros, lambda shape, dtype: torch.zeros(shape).int()])
def test_empty_arrays(make):
    empty = make((0, 4), dtype=np.int32)
    stream = encode(empty, empty)
    assert len(stream) == 8
    assert tuple(RansDecoder().decode_with_indexes(stream, empty, TABLES).shape) == (0, 4)


def test_one_number_is_an_array_without_dimensions():
    stream = encode(np.array(1), np.array(0))
    assert stream == encode([1], [0])
    decoded = RansDecoder().decode_with_indexes(stream, np.array(0), TABLES)
    assert decoded.shape == ()
    assert decoded == 1


def test_out():
    out = np.empty(SYMBOLS.shape, np.int32)
    assert decode(INDEXES, out=out) is out
    np.testing.assert_array_equal(out, SYMBOLS)

    tensor = torch.empty(SYMBOLS.shape, dtype=torch.int32)
    assert decode(torch.tensor(INDEXES), out=tensor) is tensor
    np.testing.assert_array_equal(tensor.numpy(), SYMBOLS)

    flat = np.empty(SYMBOLS.size, np.int32)
    assert decode(INDEXES.ravel().tolist(), out=flat) is flat
    np.testing.assert_array_equal(flat, SYMBOLS.ravel())

    decoder = RansDecoder()
    decoder.set_stream(STREAM)
    both = INDEXES.astype(np.int32)  # the indexes' own memory
    assert decoder.decode_stream(both, TABLES, out=both) is both
    np.testing.assert_array_equal(both, SYMBOLS)


def read_only():
    array = np.empty(SYMBOLS.shape, np.int32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "out",
    [
        np.empty(SYMBOLS.shape, np.int64),
        np.empty(SYMBOLS.shape, np.uint32),
        np.empty(SYMBOLS.shape, ">i4"),
        np.empty((3, 4, 10), np.int32)[:, :, ::2],
        read_only(),
        torch.empty(SYMBOLS.shape),
        SYMBOLS.tolist(),
    ],
)
def test_out_of_a_wrong_kind(out):
    with pytest.raises(TypeError, match="out must be"):
        decode(INDEXES, out=out)


def test_out_of_a_wrong_shape():
    with pytest.raises(ValueError, match=r"out has shape \(60,\), the indexes \(3, 4, 5\)"):
        decode(INDEXES, out=np.empty(60, np.int32))


@pytest.mark.parametrize("index", [-1, 2, 1000, -(1 << 31), 1 << 31, 1 << 40, 1 << 80, -(1 << 70)])
def test_an_index_without_a_table(index):
    """The message has position, index and number of tables."""
    message = rf"indexes\[2\] is {index}; there are 2 CDF tables, 0 to 1"
    kinds = [lambda numbers: numbers]
    if abs(index) < 1 << 62:
        kinds += [np.array, torch.tensor]
    for kind in kinds:
        indexes = kind([0, 1, index, 0])
        with pytest.raises(IndexError, match=message):
            encode(kind([0, 0, 0, 0]), indexes)
        with pytest.raises(IndexError, match=message):
            RansDecoder().decode_with_indexes(STREAM, indexes, TABLES)


@pytest.mark.parametrize("symbol", [1 << 31, -(1 << 31) - 1, 1 << 63, -(1 << 90)])
def test_a_symbol_beyond_int32(symbol):
    with pytest.raises(OverflowError, match=rf"symbols\[1\] is {symbol}, which does not fit"):
        encode([0, symbol], [0, 0])
    if abs(symbol) < 1 << 62:
        with pytest.raises(OverflowError, match=rf"symbols\[1\] is {symbol}, which does not fit"):
            encode(np.array([0, symbol]), [0, 0])
    if symbol == 1 << 63:
        with pytest.raises(OverflowError, match=rf"symbols\[1\] is {symbol}, which does not fit"):
            encode(np.array([0, symbol], np.uint64), [0, 0])


def test_shapes_that_differ():
    for symbols, indexes in [
        ([0, 1], [0]),
        ([], [0]),
        (np.zeros((2, 3), int), np.zeros((3, 2), int)),
        (np.zeros(6, int), np.zeros((2, 3), int)),
        (torch.zeros(2, dtype=torch.int32), [0, 0, 0]),
    ]:
        with pytest.raises(ValueError, match="symbols have shape"):
            encode(symbols, indexes)


@pytest.mark.parametrize(
    "bad",
    [
        [0.0, 1.0],
        ["0", "1"],
        [[0], [1]],
        [None, None],
        np.zeros(2),
        np.zeros(2, bool),
        np.array(["a", "b"]),
        np.array([0, 1], object),
        torch.zeros(2),
        torch.zeros(2, dtype=torch.int32, device="meta"),
        None,
        0,
        "01",
        {0: 1, 1: 0},
        np.int32(1),
    ],
    ids=lambda bad: f"{type(bad).__name__} {bad}"[:40],
)
def test_what_holds_no_integers(bad):
    with pytest.raises(TypeError, match="symbols"):
        encode(bad, [0, 0])
    with pytest.raises(TypeError, match="indexes"):
        encode([0, 0], bad)
    with pytest.raises(TypeError, match="indexes"):
        decode(bad)


def test_an_error_appends_nothing():
    encoder = BufferedRansEncoder()
    encoder.encode_with_indexes([1, 2], [0, 1], TABLES)
    for symbols, indexes, error in [
        ([1, 2, 3], [0, 0, 2], IndexError),
        ([1, 2, 1 << 31], [0, 0, 0], OverflowError),
        ([1, 1 << 30, (1 << 31) - 1], [0, 0, 0], OverflowError),
        ([1], [0, 0], ValueError),
    ]:
        with pytest.raises(error):
            encoder.encode_with_indexes(symbols, indexes, TABLES)
    encoder.encode_with_indexes([3], [0], TABLES)
    assert encoder.flush() == encode([1, 2, 3], [0, 1, 0])


def test_an_exception_of_the_callers_own_goes_through():
    class Odd:
        def __index__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode([Odd()], [0])


def test_a_list_that_shrinks_while_it_is_read():
    class Clearing:
        def __index__(self):
            symbols.clear()
            return 1

    symbols = [Clearing(), 2, 3]
    assert encode(symbols, [0, 0, 0]) == encode([1, 2, 3], [0, 0, 0])
    assert symbols == []


def test_arguments_by_name():
    named = dict(zip(["cdfs", "cdfs_sizes", "offsets"], CDFS, strict=True))
    flat = {"symbols": SYMBOLS.ravel().tolist(), "indexes": INDEXES.ravel().tolist()}
    assert RansEncoder().encode_with_indexes(**flat, **named) == STREAM
    assert RansEncoder().encode_with_indexes(**flat, cdfs=TABLES) == STREAM
    decoder = RansDecoder()
    decoder.set_stream(encoded=STREAM)
    assert decoder.decode_stream(indexes=flat["indexes"], **named) == flat["symbols"]


def test_torch_is_not_imported():
    code = """
import sys
from lic_fast import ans
tables = ans.CdfTables([[0, 9, 65536]], [3], [0])
stream = ans.RansEncoder().encode_with_indexes([0, 5], [0, 0], tables)
assert ans.RansDecoder().decode_with_indexes(stream, [0, 0], tables) == [0, 5]
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
