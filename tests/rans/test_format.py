"""A decoder written from docs/format.md reads what the coder writes, and refuses alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import rans
from lic_fast.errors import StreamError
from tests.ans.strategies import messages, tables
from tests.rans import format_decoder


def rows_of(given_tables):
    return [cdf[:size] for cdf, size in zip(given_tables.cdfs, given_tables.sizes, strict=True)]


def in_cpp(stream, steps, prepared, isa):
    decoder = rans.Decoder(prepared, isa=isa)
    decoder.start(stream)
    symbols = [decoder.decode(indexes) for indexes in steps]
    decoder.finish()
    return symbols


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_documented_decoder_reads_streams(data):
    given_tables = data.draw(tables())
    prepared = rans.CdfTables(*given_tables)
    drawn = [data.draw(messages(given_tables)) for _ in range(data.draw(st.integers(0, 3)))]
    # Long enough for whole groups of 32 lanes.
    repeat = data.draw(st.sampled_from([1, 9]))
    steps = [(symbols * repeat, indexes * repeat) for symbols, indexes in drawn]
    lanes = data.draw(st.sampled_from([None, 1, 2, 4, 8, 16, 32]))
    substreams = data.draw(st.sampled_from([None, 1, 2, 5]))
    stream = rans.Encoder(prepared, lanes=lanes, substreams=substreams).encode(steps)
    indexes = [indexes for _, indexes in steps]
    expected = [symbols for symbols, _ in steps]
    rows = rows_of(given_tables)
    assert format_decoder.decode(stream, indexes, rows, given_tables.offsets) == expected


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_both_refuse_the_same_streams(data):
    given_tables = data.draw(tables())
    prepared = rans.CdfTables(*given_tables)
    symbols, indexes = data.draw(messages(given_tables))
    symbols, indexes = symbols * 5, indexes * 5
    lanes = data.draw(st.sampled_from([1, 4, 16, 32]))
    encoder = rans.Encoder(prepared, lanes=lanes, substreams=data.draw(st.integers(1, 3)))
    stream = bytearray(encoder.encode([(symbols, indexes)]))
    for _ in range(data.draw(st.integers(0, 2))):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    stream = (
        bytes(stream[: data.draw(st.integers(0, len(stream)))])
        if data.draw(st.booleans())
        else bytes(stream)
    )
    try:
        rows = rows_of(given_tables)
        expected = format_decoder.decode(stream, [indexes], rows, given_tables.offsets)
    except StreamError:
        expected = None
    for isa in rans.instruction_sets():
        if expected is None:
            with pytest.raises(StreamError):
                in_cpp(stream, [indexes], prepared, isa)
        else:
            assert in_cpp(stream, [indexes], prepared, isa) == expected


def test_a_long_message_has_a_head_of_whole_groups():
    rng = np.random.default_rng(0)
    cdf = [0, 20000, 50000, 65000, 65536]
    symbols, indexes = rng.integers(-1, 2, 6000), np.zeros(6000, np.uint8)
    prepared = rans.CdfTables([cdf], [5], [-1])
    stream = rans.Encoder(prepared, lanes=32, substreams=2).encode([(symbols, indexes)])
    assert all(groups > 80 for groups in rans.inspect(stream).groups)
    assert format_decoder.decode(stream, [[0] * 6000], [cdf], [-1]) == [symbols.tolist()]
