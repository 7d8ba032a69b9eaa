"""A decoder of the layout ``lanes``, written from docs/format.md in plain integers.

Its names are those of that text. It is slow, and short enough to be compared with it.
"""

from __future__ import annotations

from lic_fast.errors import StreamError


def check(condition, text):
    if not condition:
        raise StreamError(text)


def varint(data, position):
    value = shift = 0
    while True:
        check(position < len(data) and shift < 35, "header")
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            check((byte or shift == 7) and value < 1 << 32, "varint")
            return value, position


class Substream:
    def __init__(self, words, lanes, groups):
        self.words, self.position, self.lanes = words, 0, lanes
        self.head, self.taken = groups * lanes, 0
        self.x = [self.word() + (self.word() << 16)] + [0] * (lanes - 1)
        check(self.x[0] >= 1 << 16, "first state")
        for j in range(1, lanes):
            e = self.raw(0, 4)
            u = self.raw(0, 16)
            self.x[j] = (((1 << 16) + u) << e) + self.raw(0, e)
        self.extra = None
        self.maybe_retire()

    def word(self):
        check(self.position < len(self.words), "too short")
        self.position += 1
        return self.words[self.position - 1]

    def renormalise(self, lane):
        if self.x[lane] < 1 << 16:
            self.x[lane] = (self.x[lane] << 16) + self.word()

    def raw(self, lane, b):
        value = self.x[lane] % (1 << b)
        self.x[lane] >>= b
        self.renormalise(lane)
        return value

    def maybe_retire(self):
        if self.taken == self.head:
            check(all(x < 1 << 17 for x in self.x[1:]), "retired lane")
            self.extra = len(self.words)
            self.words = self.words + [x - (1 << 16) for x in self.x[1:]]

    def symbol(self, c, o):
        lane = 0 if self.extra is not None else self.taken % self.lanes
        m = len(c) - 2
        r = self.x[lane] % (1 << 16)
        s = max(i for i in range(m + 1) if c[i] <= r)
        self.x[lane] = (c[s + 1] - c[s]) * (self.x[lane] >> 16) + r - c[s]
        self.renormalise(lane)
        value = o + s
        if s == m:
            n = self.raw(lane, 4)
            check(n <= 8, "digits")
            digits = [self.raw(lane, 4) for _ in range(n)]
            u = sum(digit << (4 * i) for i, digit in enumerate(digits))
            check(u < 1 << 31 and (n == 0 or digits[-1]), "escape")
            value = o - (u + 1) // 2 if u % 2 else o + m + u // 2
            check(-(1 << 31) <= value < 1 << 31, "symbol")
        self.taken += 1
        if self.extra is None:
            self.maybe_retire()
        return value

    def finish(self):
        check(self.extra is not None, "symbols left")
        check(self.position >= self.extra, "words left")
        check(not any(self.words[self.position :]), "words left")
        check(self.x[0] == 1 << 16, "last state")


class Decoder:
    """A message's symbols, step by step.

    Args:
        stream: The bytes.
        cdfs: Lists [0, ..., 65536].
        offsets: Of each of them, the symbol of its first interval.
    """

    def __init__(self, stream, cdfs, offsets):
        check(len(stream) > 0 and stream[0] & 7 <= 5, "shape")
        lanes, count = 1 << (stream[0] & 7), (stream[0] >> 3) + 1
        numbers, position = [], 1
        for _ in range(2 * count - 1):
            number, position = varint(stream, position)
            numbers.append(number)
        groups, lengths = numbers[:count], numbers[count:]
        check(lanes > 1 or not any(groups), "groups of one lane")
        body = stream[position:]
        check(len(body) % 2 == 0, "odd")
        words = [body[i] + (body[i + 1] << 8) for i in range(0, len(body), 2)]
        check(sum(lengths) <= len(words), "cut")
        self.cdfs, self.offsets, self.substreams = cdfs, offsets, []
        for h, length in zip(groups, [*lengths, len(words) - sum(lengths)], strict=True):
            self.substreams.append(Substream(words[:length], lanes, h))
            words = words[length:]

    def step(self, indexes):
        """Symbols of the tables with these numbers."""
        n, count = len(indexes), len(self.substreams)
        return [
            substream.symbol(self.cdfs[indexes[i]], self.offsets[indexes[i]])
            for k, substream in enumerate(self.substreams)
            for i in range(k * n // count, (k + 1) * n // count)
        ]

    def finish(self):
        for substream in self.substreams:
            substream.finish()


def decode(stream, steps, cdfs, offsets):
    """The symbols of each step, of which all indexes are known."""
    decoder = Decoder(stream, cdfs, offsets)
    symbols = [decoder.step(indexes) for indexes in steps]
    decoder.finish()
    return symbols
