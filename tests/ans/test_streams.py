"""Streams: byte for byte compressai's, and back to the same symbols."""

from __future__ import annotations

import compressai.ans
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lic_fast.ans import BufferedRansEncoder, CdfTables, RansDecoder, RansEncoder
from tests.ans.oracle import COMPRESSAI_LIMIT, LOWER, Coding
from tests.ans.strategies import Message, Tables, messages, tables

ONE = Tables([[0, 65536]], [2], [0])
TWO = Tables([[0, 40000, 65536], [0, 1, 2, 65536]], [3, 4], [0, -1])


def decode(stream, indexes, given_tables):
    """Decode, and check that nothing of the stream is left."""
    decoder = RansDecoder()
    decoder.set_stream(stream)
    symbols = decoder.decode_stream(indexes, *given_tables)
    decoder.finish()
    return symbols


@given(st.data())
def test_the_stream_is_the_oracles_and_decodes_to_the_symbols(data):
    coded = data.draw(tables())
    symbols, indexes = data.draw(messages(coded))
    stream = RansEncoder().encode_with_indexes(symbols, indexes, *coded)
    assert stream == Coding().add(symbols, indexes, *coded).stream()
    assert RansDecoder().decode_with_indexes(stream, indexes, *coded) == symbols
    assert decode(stream, indexes, coded) == symbols


@given(st.data())
def test_the_stream_is_compressais_wherever_that_is_defined(data):
    coded = data.draw(tables())
    symbols, indexes = data.draw(messages(coded, reach=COMPRESSAI_LIMIT))
    stream = RansEncoder().encode_with_indexes(symbols, indexes, *coded)
    if Coding().add(symbols, indexes, *coded).compressai_is_defined:
        assert stream == compressai.ans.RansEncoder().encode_with_indexes(symbols, indexes, *coded)
    assert compressai.ans.RansDecoder().decode_with_indexes(stream, indexes, *coded) == symbols


@pytest.mark.parametrize("seed", range(4))
def test_the_stream_is_compressais_for_many_symbols(seed):
    rng = np.random.default_rng(seed)
    cdfs = [
        [0, *np.sort(rng.choice(65535, size, replace=False) + 1).tolist(), 65536]
        for size in (1, 2, 7, 40, 300, 3000, 20000)
    ]
    coded = Tables(cdfs, [len(cdf) for cdf in cdfs], rng.integers(-99, 99, len(cdfs)).tolist())
    indexes = rng.integers(0, len(cdfs), 20000)
    symbols = rng.normal(0, 10 ** rng.uniform(0, 6, 20000)).astype(np.int64)
    arguments = (symbols.tolist(), indexes.tolist(), *coded)
    stream = compressai.ans.RansEncoder().encode_with_indexes(*arguments)
    assert RansEncoder().encode_with_indexes(*arguments) == stream
    assert decode(stream, arguments[1], coded) == arguments[0]


@given(st.data())
def test_one_stream_takes_several_calls_on_both_sides(data):
    coded = data.draw(st.lists(tables(), min_size=1, max_size=4))
    parts = [data.draw(messages(each, max_size=10)) for each in coded]
    encoder, coding = BufferedRansEncoder(), Coding()
    for (symbols, indexes), each in zip(parts, coded, strict=True):
        encoder.encode_with_indexes(symbols, indexes, *each)
        coding.add(symbols, indexes, *each)
    stream = encoder.flush()
    assert stream == coding.stream()

    decoder = RansDecoder()
    decoder.set_stream(stream)
    for (symbols, indexes), each in zip(parts, coded, strict=True):
        assert decoder.decode_stream(indexes, CdfTables(*each)) == symbols
    decoder.finish()


def test_several_calls_are_compressais():
    rng = np.random.default_rng(5)
    ours, theirs = BufferedRansEncoder(), compressai.ans.BufferedRansEncoder()
    for _ in range(2):  # flush leaves the encoder as new
        for _ in range(3):
            symbols, indexes = rng.integers(-9, 9, 50).tolist(), rng.integers(0, 2, 50).tolist()
            ours.encode_with_indexes(symbols, indexes, *TWO)
            theirs.encode_with_indexes(symbols, indexes, *TWO)
        assert ours.flush() == theirs.flush()


def test_no_symbols_are_the_initial_state():
    empty = LOWER.to_bytes(8, "little")
    assert BufferedRansEncoder().flush() == empty
    assert RansEncoder().encode_with_indexes([], [], *TWO) == empty
    encoder = BufferedRansEncoder()
    encoder.encode_with_indexes([], [], *TWO)
    assert encoder.flush() == empty
    assert decode(empty, [], TWO) == []
    assert RansDecoder().decode_with_indexes(empty, [], *TWO) == []


@given(messages(TWO, max_size=1))
@example(Message([0], [0]))
def test_one_symbol(message):
    stream = RansEncoder().encode_with_indexes(*message, *TWO)
    assert stream == Coding().add(*message, *TWO).stream()
    assert decode(stream, message.indexes, TWO) == message.symbols


@given(messages(ONE))
def test_a_table_of_nothing_but_the_escape(message):
    stream = RansEncoder().encode_with_indexes(*message, *ONE)
    assert stream == Coding().add(*message, *ONE).stream()
    assert decode(stream, message.indexes, ONE) == message.symbols
    assert compressai.ans.RansDecoder().decode_with_indexes(stream, message.indexes, *ONE) == (
        message.symbols
    )


@pytest.mark.parametrize("offset", [0, 7, -(1 << 31), (1 << 31) - 3])
def test_the_range_of_symbols(offset):
    """-2**30 <= symbol - offset < n + 2**30, as the docstring says, and int32."""
    coded = Tables([[0, 10, 20, 30, 65536]], [5], [offset])
    lowest, highest = offset - (1 << 30), offset + 3 + (1 << 30) - 1
    if offset == (1 << 31) - 3:
        highest = (1 << 31) - 1
    if offset == -(1 << 31):
        lowest = offset
    for symbol in (lowest, highest):
        stream = RansEncoder().encode_with_indexes([symbol], [0], *coded)
        assert decode(stream, [0], coded) == [symbol]
    for symbol in (lowest - 1, highest + 1):
        with pytest.raises(OverflowError, match=rf"symbols\[1\] is {symbol}"):
            RansEncoder().encode_with_indexes([offset, symbol], [0, 0], *coded)


@given(st.data())
def test_every_stream_begins_with_a_state_inside_the_invariant(data):
    coded = data.draw(tables())
    message = data.draw(messages(coded))
    stream = RansEncoder().encode_with_indexes(*message, *coded)
    assert LOWER <= int.from_bytes(stream[:8], "little") < LOWER << 32
