"""Streams of every shape decode to their symbols, with the same bytes on every instruction set."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import rans
from lic_fast.errors import StreamError
from tests.ans.strategies import tables as random_tables

ISAS = rans.instruction_sets()


def gaussian_tables():
    """Tables as GaussianConditional makes them, by way of a rounded normal distribution."""
    scales = np.exp(np.linspace(np.log(0.11), np.log(256), 64))
    cdfs, offsets = [], []
    for scale in scales:
        reach = int(np.ceil(6.1 * scale))
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / scale) ** 2)
        frequencies = np.maximum(np.floor(weights / weights.sum() * 62000).astype(int), 1)
        frequencies[reach] += 65535 - frequencies.sum()
        cdfs.append([0, *np.cumsum(frequencies).tolist(), 65536])
        offsets.append(-reach)
    return rans.CdfTables(cdfs, [len(cdf) for cdf in cdfs], offsets), scales


GAUSSIAN, SCALES = gaussian_tables()


def message(size, seed, outliers=0.0):
    rng = np.random.default_rng(seed)
    indexes = np.minimum(rng.geometric(0.2, size) - 1, 63).astype(np.uint8)
    symbols = np.rint(rng.normal(0, SCALES[indexes])).astype(np.int32)
    outside = rng.random(size) < outliers
    symbols[outside] += rng.integers(-(2**28), 2**28, outside.sum(), dtype=np.int32)
    return symbols, indexes


def cut(symbols, indexes, parts, seed):
    bounds = np.sort(np.random.default_rng(seed).integers(0, len(symbols) + 1, parts - 1))
    return list(zip(np.split(symbols, bounds), np.split(indexes, bounds), strict=True))


def decode(stream, steps, tables, **arguments):
    decoder = rans.Decoder(tables, **arguments)
    decoder.start(stream)
    symbols = [decoder.decode(indexes) for _, indexes in steps]
    decoder.finish()
    return symbols


@pytest.mark.parametrize("outliers", [0.0, 0.001, 0.2])
@pytest.mark.parametrize("lanes", [None, 1, 4, 16, 32])
@pytest.mark.parametrize("size", [0, 1, 31, 33, 5000, 70_000])
def test_streams_are_the_same_everywhere(size, lanes, outliers):
    steps = cut(*message(size, size, outliers), 4, size)
    for substreams in (None, 3):
        streams = {
            rans.Encoder(
                GAUSSIAN, lanes=lanes, substreams=substreams, isa=isa, threads=threads
            ).encode(steps)
            for isa in ISAS
            for threads in (1, 3)
        }
        (stream,) = streams
        info = rans.inspect(stream)
        assert info.lanes == (lanes or info.lanes)
        assert info.substreams == (substreams or info.substreams)
        for isa in ISAS:
            for threads in (1, 2):
                got = decode(stream, steps, GAUSSIAN, isa=isa, threads=threads)
                for symbols, (expected, _) in zip(got, steps, strict=True):
                    np.testing.assert_array_equal(symbols, expected)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_tables_and_symbols(data):
    given_tables = data.draw(random_tables())
    tables = rans.CdfTables(*given_tables)
    size = data.draw(st.integers(0, 400))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    indexes = rng.integers(0, len(tables), size).astype(np.int16)
    counts = np.array(given_tables.sizes)[indexes] - 2
    values = np.floor(rng.random(size) * np.maximum(counts, 1)).astype(np.int64)
    wild = rng.random(size) < data.draw(st.sampled_from([0.0, 0.01, 0.3]))
    values[wild] += rng.integers(-(2**20), 2**20, wild.sum())
    symbols = np.clip(values + np.array(given_tables.offsets)[indexes], -(2**31), 2**31 - 1)
    steps = cut(symbols.astype(np.int32), indexes, data.draw(st.integers(1, 5)), size)
    lanes = data.draw(st.sampled_from([None, 1, 2, 4, 8, 16, 32]))
    substreams = data.draw(st.sampled_from([None, 1, 2, 7, 32]))
    streams = {
        rans.Encoder(tables, lanes=lanes, substreams=substreams, isa=isa).encode(steps)
        for isa in ISAS
    }
    (stream,) = streams
    for isa in ISAS:
        got = decode(stream, steps, tables, isa=isa)
        np.testing.assert_array_equal(np.concatenate(got), symbols)


def test_more_than_64_tables():
    cdfs, sizes, offsets = GAUSSIAN.arrays()
    tables = rans.CdfTables(np.tile(cdfs, (5, 1)), np.tile(sizes, 5), np.tile(offsets, 5))
    symbols, indexes = message(20_000, 0)
    indexes = indexes + 64 * np.arange(20_000, dtype=np.int16) % 320
    indexes = indexes.astype(np.int16)
    for isa in ISAS:
        stream = rans.Encoder(tables, isa=isa, lanes=32).encode([(symbols, indexes)])
        assert np.array_equal(decode(stream, [(None, indexes)], tables, isa=isa)[0], symbols)


@pytest.mark.parametrize("isa", ISAS)
def test_a_batch_is_its_messages(isa):
    messages = [cut(*message(size, size), 2, size) for size in (0, 100, 40_000, 3000)]
    encoder = rans.Encoder(GAUSSIAN, isa=isa, threads=3)
    assert encoder.encode_batch(messages) == [encoder.encode(steps) for steps in messages]
    assert encoder.encode_batch([]) == []


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_out_takes_the_symbols(isa, dtype):
    symbols, indexes = message(3000, 1)
    stream = rans.Encoder(GAUSSIAN).encode([(symbols.astype(dtype), indexes)])
    decoder = rans.Decoder(GAUSSIAN, isa=isa)
    decoder.start(stream)
    out = np.empty(3000, dtype)
    assert decoder.decode(indexes, out=out) is out
    decoder.finish()
    assert np.array_equal(out, symbols)


@pytest.mark.parametrize("isa", ISAS)
def test_after_an_error_the_position_is_the_old_one(isa):
    symbols, indexes = message(3000, 2)
    symbols[2500] = 100_000
    stream = rans.Encoder(GAUSSIAN, lanes=32).encode([(symbols, indexes)])
    decoder = rans.Decoder(GAUSSIAN, isa=isa)
    decoder.start(stream)
    bad = indexes.copy()
    bad[1500] = 64
    with pytest.raises(IndexError, match=r"indexes\[1500\] is 64; there are 64"):
        decoder.decode(bad)
    with pytest.raises(OverflowError, match="symbol 2500 of this call is 100000"):
        decoder.decode(indexes, out=np.empty(3000, np.int16))
    with pytest.raises(StreamError, match="too short"):
        decoder.decode(np.concatenate([indexes, np.full(100_000, 63, np.uint8)]))
    assert np.array_equal(decoder.decode(indexes), symbols)
    decoder.finish()


@pytest.mark.parametrize("isa", ISAS)
def test_every_cut_and_change_is_an_error_or_wrong_symbols(isa):
    symbols, indexes = message(600, 3)
    stream = rans.Encoder(GAUSSIAN, substreams=2).encode([(symbols, indexes)])
    rng = np.random.default_rng(0)
    altered = [stream[:n] for n in range(len(stream))] + [stream + b"\0\0", stream + stream]
    for _ in range(300):
        changed = bytearray(stream)
        changed[rng.integers(len(stream))] ^= 1 << rng.integers(8)
        altered.append(bytes(changed))
    for bad in altered:
        try:
            got = decode(bad, [(None, indexes)], GAUSSIAN, isa=isa)[0]
        except StreamError:
            continue
        assert len(bad) == len(stream)
        assert not np.array_equal(got, symbols)


@pytest.mark.parametrize(("broad", "bpp", "bound"), [(0.375, 0.3, 0.003), (0.108, 0.1, 0.01)])
def test_overhead_is_small(broad, bpp, bound):
    """Of 590,000 symbols, those of a 768x512 picture, over their ideal length."""
    cdfs, sizes, offsets = GAUSSIAN.arrays()
    rng = np.random.default_rng(0)
    # Most scales are small; some of them reach far.
    skew = np.where(rng.random(590_000) < broad, 0.12, 0.36)
    indexes = np.minimum(rng.geometric(skew) - 1, 63).astype(np.uint8)
    slots = rng.integers(0, 65536, 590_000)
    symbols = np.empty(590_000, np.int32)
    bits = 0.0
    for i in range(64):
        here = indexes == i
        cdf = cdfs[i, : sizes[i]]
        s = np.minimum(np.searchsorted(cdf, slots[here], side="right") - 1, sizes[i] - 3)
        symbols[here] = s + offsets[i]
        bits -= np.log2(np.diff(cdf)[s] / 65536).sum()
    assert bits / (768 * 512) == pytest.approx(bpp, rel=0.05)
    stream = rans.Encoder(GAUSSIAN).encode([(symbols, indexes)])
    assert 8 * len(stream) / bits - 1 < bound


def test_misuse_is_explained():
    decoder = rans.Decoder(GAUSSIAN)
    with pytest.raises(RuntimeError, match="call start first"):
        decoder.decode([0])
    with pytest.raises(RuntimeError, match="call start first"):
        decoder.finish()
    for arguments, text in (
        ({"lanes": 3}, "lanes is 3"),
        ({"lanes": 64}, "lanes is 64"),
        ({"substreams": 0}, "substreams is 0"),
        ({"substreams": 33}, "substreams is 33"),
        ({"threads": 0}, "threads is 0"),
        ({"isa": "mmx"}, "'mmx'; this CPU has scalar"),
    ):
        with pytest.raises(ValueError, match=text):
            rans.Encoder(GAUSSIAN, **arguments)
    encoder = rans.Encoder(GAUSSIAN)
    with pytest.raises(ValueError, match="not 3 things"):
        encoder.encode([([0], [0], [0])])
    with pytest.raises(ValueError, match="symbols have shape"):
        encoder.encode([([0, 1], [0])])
    with pytest.raises(OverflowError, match="too far outside"):
        encoder.encode([([2**31 - 1], [0])])
    with pytest.raises(IndexError, match=r"indexes\[1\] is -1"):
        encoder.encode([([0, 0], [0, -1])])


def test_a_forked_child_can_code():
    steps = [message(100_000, 4)]
    encoder = rans.Encoder(GAUSSIAN, substreams=4, threads=4)
    stream = encoder.encode(steps)
    child = os.fork()
    if child == 0:
        os._exit(0 if encoder.encode(steps) == stream else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
