"""Random tables, and symbols in and outside of them."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from tests.ans.oracle import LIMIT

INT32 = range(-(1 << 31), 1 << 31)


class Tables(NamedTuple):
    cdfs: list[list[int]]
    sizes: list[int]
    offsets: list[int]


class Message(NamedTuple):
    symbols: list[int]
    indexes: list[int]


@st.composite
def rows(draw) -> list[int]:
    """A CDF; crowded ones have many intervals of one slot."""
    inner = draw(st.sets(st.integers(1, 65535), max_size=12))
    if draw(st.booleans()):
        first = draw(st.integers(1, 65000))
        inner |= set(range(first, first + draw(st.integers(0, 500))))
    return [0, *sorted(inner), 65536]


@st.composite
def tables(draw) -> Tables:
    cdfs = draw(st.lists(rows(), min_size=1, max_size=5))
    sizes = [len(cdf) for cdf in cdfs]
    offset = st.one_of(st.integers(-20, 20), st.integers(INT32.start, INT32.stop - 1))
    offsets = [min(draw(offset), INT32.stop - 1 - max(size - 3, 0)) for size in sizes]
    padding = st.lists(st.integers(-5, 70000), max_size=3)
    return Tables([cdf + draw(padding) for cdf in cdfs], sizes, offsets)


@st.composite
def messages(draw, given: Tables, *, reach: int = LIMIT, max_size: int = 40) -> Message:
    """Symbols at most `reach` outside their tables."""
    indexes = draw(st.lists(st.integers(0, len(given.sizes) - 1), max_size=max_size))
    symbols = []
    for index in indexes:
        count = given.sizes[index] - 2
        value = draw(
            st.one_of(
                st.integers(0, max(count - 1, 0)),
                st.integers(-40, count + 40),
                st.integers(-reach, count + reach - 1),
                st.sampled_from([-reach, -1, 0, count - 1, count, count + reach - 1]),
            )
        )
        symbol = value + given.offsets[index]
        symbols.append(max(INT32.start, min(symbol, INT32.stop - 1)))
    return Message(symbols, indexes)
