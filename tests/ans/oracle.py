"""The coder in Python integers of any size: the definition that the C++ is held to."""

from __future__ import annotations

from dataclasses import dataclass, field

LOWER = 1 << 31
LIMIT = 1 << 30  # how far a symbol may lie outside its table, in either direction
COMPRESSAI_LIMIT = 1 << 27


@dataclass
class Coding:
    """What the encoder pushes for some symbols, and whether compressai survives it."""

    pushes: list[tuple[int, int, int]] = field(default_factory=list)  # start, freq, bits
    compressai_escapes: bool = True

    def add(self, symbols, indexes, cdfs, sizes, offsets) -> Coding:
        for symbol, index in zip(symbols, indexes, strict=True):
            cdf, count = cdfs[index], sizes[index] - 2
            value = symbol - offsets[index]
            escape = None
            if not 0 <= value < count:
                escape = -2 * value - 1 if value < 0 else 2 * (value - count)
                value = count
            self.pushes.append((cdf[value], cdf[value + 1] - cdf[value], 16))
            if escape is None:
                continue
            assert escape < 1 << 31
            # From here on compressai's encoder shifts by all 32 bits, and does not end.
            self.compressai_escapes &= escape < 1 << 28
            digits = []
            while escape:
                digits.append(escape & 15)
                escape >>= 4
            self.pushes += [(digit, 1, 4) for digit in [len(digits), *digits]]
        return self

    def stream(self) -> bytes:
        state, words = LOWER, []
        for start, freq, bits in reversed(self.pushes):
            if state >= (freq << (47 + 16 - bits)):
                words.append(state & 0xFFFFFFFF)
                state >>= 32
            state = (state // freq << bits) + state % freq + start
            assert LOWER <= state < LOWER << 32
        words += [state >> 32, state & 0xFFFFFFFF]
        return b"".join(word.to_bytes(4, "little") for word in reversed(words))

    @property
    def compressai_is_defined(self) -> bool:
        """Whether compressai.ans stays inside its buffers and does not divide by zero.

        Its output buffer has one word for each push, and it keeps frequencies in 16 bits.
        """
        return (
            self.compressai_escapes
            and len(self.stream()) <= 4 * len(self.pushes)
            and all(freq < 1 << 16 for _, freq, _ in self.pushes)
        )
