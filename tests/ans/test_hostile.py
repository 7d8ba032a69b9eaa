"""Streams that are cut, lengthened or altered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import errors
from lic_fast.ans import CdfTables, RansDecoder, RansEncoder
from lic_fast.errors import StreamError
from tests.ans.oracle import Coding
from tests.ans.strategies import tables

CDFS = ([[0, 5000, 40000, 65000, 65536], [0, 60000, 65536], [0, 65536]], [5, 3, 2], [-1, 0, 0])
TABLES = CdfTables(*CDFS)
SYMBOLS = [0, 1, -1, 2, 500, 0, 0, -70000, 3, 0, 1, 0, 1 << 29, 0, 0, 7]
INDEXES = [0, 0, 0, 0, 0, 1, 1, 1, 2, 1, 0, 1, 0, 0, 1, 2]
STREAM = RansEncoder().encode_with_indexes(SYMBOLS, INDEXES, TABLES)


def decode(stream, indexes=INDEXES, given_tables=TABLES):
    decoder = RansDecoder()
    decoder.set_stream(stream)
    symbols = decoder.decode_stream(indexes, given_tables)
    decoder.finish()
    return symbols


def test_the_stream_itself_is_good():
    assert len(STREAM) >= 16
    assert decode(STREAM) == SYMBOLS


@pytest.mark.parametrize("length", range(len(STREAM)))
def test_every_truncation_is_an_error(length):
    with pytest.raises(StreamError, match=r"bytes|too short"):
        decode(STREAM[:length])
    with pytest.raises(StreamError, match=r"bytes|too short"):
        RansDecoder().decode_with_indexes(STREAM[:length], INDEXES, TABLES)


@pytest.mark.parametrize("position", range(0, len(STREAM) + 1, 4))
def test_every_missing_or_added_word_is_an_error(position):
    with pytest.raises(StreamError):
        decode(STREAM[:position] + b"\x01\x02\x03\x04" + STREAM[position:])
    if position < len(STREAM):
        with pytest.raises(StreamError):
            decode(STREAM[:position] + STREAM[position + 4 :])


def test_what_follows_the_stream_is_found_by_finish_only():
    longer = STREAM + bytes(8)
    assert RansDecoder().decode_with_indexes(longer, INDEXES, TABLES) == SYMBOLS
    decoder = RansDecoder()
    decoder.set_stream(longer)
    assert decoder.decode_stream(INDEXES, TABLES) == SYMBOLS
    with pytest.raises(StreamError, match="8 bytes more than its symbols need"):
        decoder.finish()


def test_finish_finds_symbols_left_undecoded():
    decoder = RansDecoder()
    decoder.set_stream(STREAM)
    with pytest.raises(StreamError):
        decoder.finish()
    decoder.decode_stream(INDEXES[:-1], TABLES)
    with pytest.raises(StreamError):
        decoder.finish()


def outcome(stream):
    """The symbols, or None for an error. What is accepted must encode to itself."""
    try:
        symbols = decode(stream)
    except StreamError:
        return None
    assert RansEncoder().encode_with_indexes(symbols, INDEXES, TABLES) == stream
    return symbols


def test_every_flipped_bit_gives_an_error_or_other_symbols():
    refused = 0
    for bit in range(8 * len(STREAM)):
        altered = bytearray(STREAM)
        altered[bit // 8] ^= 1 << bit % 8
        symbols = outcome(bytes(altered))
        assert symbols != SYMBOLS
        refused += symbols is None
    # The others are bits of an escape's raw digits, which nothing later depends on.
    assert refused > 0.7 * 8 * len(STREAM)


@given(st.binary(max_size=64))
def test_any_bytes(stream):
    outcome(stream)


@settings(max_examples=50)
@given(st.data())
def test_any_words_with_any_tables(data):
    coded = data.draw(tables())
    words = data.draw(st.lists(st.integers(0, (1 << 32) - 1), min_size=2, max_size=20))
    words[1] &= 0x7FFFFFFF  # so that most get past the first state
    stream = b"".join(word.to_bytes(4, "little") for word in words)
    indexes = data.draw(st.lists(st.integers(0, len(coded.sizes) - 1), max_size=60))
    try:
        symbols = decode(stream, indexes, CdfTables(*coded))
    except StreamError:
        return
    assert Coding().add(symbols, indexes, *coded).stream() == stream


@pytest.mark.parametrize("state", [0, 1, (1 << 31) - 1, 1 << 63, (1 << 64) - 1])
def test_an_impossible_first_state_is_an_error(state):
    with pytest.raises(StreamError, match="possible state"):
        RansDecoder().set_stream(state.to_bytes(8, "little") + bytes(8))


def escape_stream(digits, count=None):
    """A stream of one escape with these digits, lowest first, whoever would write them."""
    coding = Coding()
    digits = [len(digits) if count is None else count, *digits]
    coding.pushes = [(0, 1 << 16, 16), *((digit, 1, 4) for digit in digits)]
    return coding.stream()


def test_escapes_that_no_encoder_writes():
    assert decode(escape_stream([1, 2]), [2]) == [-17]
    assert decode(escape_stream([14, 15, 15, 15, 15, 15, 15, 7]), [2]) == [(1 << 30) - 1]
    bad = [
        escape_stream([0]),
        escape_stream([1, 0]),
        escape_stream([0] * 7 + [8]),
        escape_stream([15] * 9),
        escape_stream([15] * 14),
        escape_stream([0, *[1] * 15], count=15),
        escape_stream([15] * 60, count=15),
    ]
    for stream in bad:
        with pytest.raises(StreamError, match="symbol 0 of this call"):
            decode(stream, [2])


@pytest.mark.parametrize(("offset", "digits"), [((1 << 31) - 1, [2]), (-(1 << 31), [1])])
def test_a_symbol_beyond_int32_is_an_error(offset, digits):
    with pytest.raises(StreamError, match="no encoder writes"):
        decode(escape_stream(digits), [0], CdfTables([[0, 65536]], [2], [offset]))


def test_the_decoder_stays_usable_after_an_error():
    decoder = RansDecoder()
    decoder.set_stream(STREAM)
    assert decoder.decode_stream(INDEXES[:3], TABLES) == SYMBOLS[:3]
    for _ in range(2):
        with pytest.raises(IndexError):
            decoder.decode_stream([*INDEXES[3:], 3], TABLES)
        with pytest.raises(StreamError, match="too short"):
            decoder.decode_stream(INDEXES[3:] * 2, TABLES)
    # The position is where it was before the failing calls.
    assert decoder.decode_stream(INDEXES[3:], TABLES) == SYMBOLS[3:]
    decoder.finish()
    decoder.set_stream(STREAM)
    assert decoder.decode_stream(INDEXES, TABLES) == SYMBOLS


def test_a_bad_stream_does_not_leave_the_last_one_in_place():
    decoder = RansDecoder()
    decoder.set_stream(STREAM)
    with pytest.raises(StreamError):
        decoder.set_stream(STREAM[:-1])
    with pytest.raises(RuntimeError, match="call set_stream first"):
        decoder.decode_stream(INDEXES, TABLES)


def test_without_a_stream():
    with pytest.raises(RuntimeError, match="call set_stream first"):
        RansDecoder().decode_stream(INDEXES, TABLES)
    with pytest.raises(RuntimeError, match="call set_stream first"):
        RansDecoder().finish()


def test_the_error_is_that_of_the_package():
    with pytest.raises(errors.LicFastError) as caught:
        RansDecoder().set_stream(b"")
    assert type(caught.value) is StreamError
    assert str(caught.value) == "the stream has 0 bytes; the shortest one has 8"


@pytest.mark.parametrize("kind", [bytearray, lambda s: memoryview(bytearray(s)), "array"])
def test_the_stream_is_copied(kind):
    source = np.frombuffer(STREAM, np.uint8).copy() if kind == "array" else kind(STREAM)
    decoder = RansDecoder()
    decoder.set_stream(source)
    source[:] = source[::-1] if kind == "array" else bytes(len(STREAM))
    assert decoder.decode_stream(INDEXES, TABLES) == SYMBOLS


def test_streams_that_are_no_bytes():
    words = np.frombuffer(STREAM, np.uint32)
    for bad, message in [
        (words, "items of 4 bytes"),
        (STREAM.decode("latin-1"), "must be bytes"),
        (list(STREAM), "must be bytes"),
        (None, "must be bytes"),
    ]:
        with pytest.raises(TypeError, match=message):
            RansDecoder().set_stream(bad)
        with pytest.raises(TypeError, match=message):
            RansDecoder().decode_with_indexes(bad, INDEXES, TABLES)


def test_a_stream_of_every_second_byte():
    spread = np.zeros(2 * len(STREAM), np.uint8)
    spread[::2] = np.frombuffer(STREAM, np.uint8)
    assert decode(spread[::2]) == SYMBOLS
    assert decode(memoryview(bytes(spread))[::2]) == SYMBOLS
