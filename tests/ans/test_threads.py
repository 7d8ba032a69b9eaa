"""Several threads: tables are shared, a coder is not, and the GIL is released."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from lic_fast.ans import BufferedRansEncoder, CdfTables, RansDecoder, RansEncoder
from lic_fast.errors import StreamError

TABLES = CdfTables([[0, 20000, 40000, 65000, 65536], [0, 300, 65536]], [5, 3], [-1, 0])


def message(seed, size):
    rng = np.random.default_rng(seed)
    indexes = rng.integers(0, 2, size).astype(np.uint8)
    return rng.integers(-3, 4, size).astype(np.int16), indexes


def test_shared_tables_and_shared_stateless_coders():
    encoder, decoder = RansEncoder(), RansDecoder()

    def round_trip(seed):
        symbols, indexes = message(seed, 20000)
        stream = encoder.encode_with_indexes(symbols, indexes, TABLES)
        return np.array_equal(decoder.decode_with_indexes(stream, indexes, TABLES), symbols)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(round_trip, range(40)))


def collide(slow, quick):
    """Calls `quick` while another thread is in `slow`, until it is refused."""
    deadline = time.monotonic() + 1200
    while time.monotonic() < deadline:
        thread = threading.Thread(target=slow)
        thread.start()
        try:
            while thread.is_alive():
                quick()
        except RuntimeError as error:
            return str(error)
        finally:
            thread.join()
    raise AssertionError("no call ran beside the other: was the GIL held?")


def test_an_encoder_in_use_refuses_a_second_thread():
    symbols, indexes = message(0, 2_000_000)
    encoder = BufferedRansEncoder()
    done = []

    def slow():
        while True:
            try:
                encoder.encode_with_indexes(symbols, indexes, TABLES)
                done.append(encoder.flush())
            except RuntimeError:
                continue  # the other thread was in a call of its own
            return

    refused = collide(slow, lambda: encoder.encode_with_indexes([], [], TABLES))
    assert refused == (
        "this BufferedRansEncoder is in use by another thread; give each thread its own"
    )
    # Nothing was lost or mixed up by it.
    expected = RansEncoder().encode_with_indexes(symbols, indexes, TABLES)
    assert done[-1][-64:] == expected[-64:]
    encoder.flush()
    encoder.encode_with_indexes(symbols, indexes, TABLES)
    assert encoder.flush() == expected


def test_a_decoder_in_use_refuses_a_second_thread():
    symbols, indexes = message(1, 2_000_000)
    stream = RansEncoder().encode_with_indexes(symbols, indexes, TABLES)
    decoder = RansDecoder()
    decoder.set_stream(stream)
    done = []

    def slow():
        while True:
            try:
                decoder.set_stream(stream)
                done.append(decoder.decode_stream(indexes, TABLES))
            except RuntimeError:
                continue
            return

    refused = collide(slow, lambda: decoder.decode_stream([], TABLES))
    assert "RansDecoder is in use by another thread" in refused
    np.testing.assert_array_equal(done[-1], symbols)


@pytest.mark.parametrize("kind", ["set_stream", "decode_stream", "finish"])
def test_a_decoder_shared_against_the_rules_gives_errors_only(kind):
    symbols, indexes = message(2, 30000)
    stream = RansEncoder().encode_with_indexes(symbols, indexes, TABLES)
    decoder = RansDecoder()
    decoder.set_stream(stream)
    calls = {
        "set_stream": lambda: decoder.set_stream(stream),
        "decode_stream": lambda: decoder.decode_stream(indexes[:999], TABLES),
        "finish": decoder.finish,
    }
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            with suppress(RuntimeError, StreamError):  # in use, or not at its end
                calls[kind]()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(100):
            with suppress(RuntimeError, StreamError):
                decoder.set_stream(stream)
                decoder.decode_stream(indexes, TABLES)
    finally:
        stop.set()
        thread.join()
    decoder.set_stream(stream)
    np.testing.assert_array_equal(decoder.decode_stream(indexes, TABLES), symbols)
    decoder.finish()
