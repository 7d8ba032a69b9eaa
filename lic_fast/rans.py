"""The fast entropy coder: streams of the layout ``lanes``, one for all slices of an image.

Up to 32 interleaved 32-bit rANS states, 16-bit words and probabilities, and substreams that
threads decode side by side (Duda, "Asymmetric numeral systems", arXiv:1311.2540; Giesen,
"Interleaved entropy coders", arXiv:1402.3392). ``docs/format.md`` describes the bytes. They are
the same on every instruction set and for every number of threads.

A message comes in steps, such as the slices of a latent::

    tables = CdfTables(cdfs, cdfs_sizes, offsets)
    stream = Encoder(tables).encode([(symbols, indexes), ...])

    decoder = Decoder(tables)
    decoder.start(stream)
    symbols = decoder.decode(indexes)  # once for each step
    decoder.finish()

The GIL is released while symbols are coded. Whatever bytes, indexes or tables are given, the
worst is an exception, or wrong symbols from a stream that was altered, which a checksum of the
symbols finds. :mod:`lic_fast.ans` has the coder of CompressAI's streams.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lic_fast._C import CdfTables, inspect_lanes, instruction_sets
from lic_fast._C import LanesDecoder as Decoder
from lic_fast._C import LanesEncoder as Encoder

__all__ = [
    "CdfTables",
    "Decoder",
    "Encoder",
    "StreamInfo",
    "inspect",
    "instruction_sets",
]


class StreamInfo(NamedTuple):
    """What the header of a stream says.

    Attributes:
        lanes: Interleaved states.
        groups: Of each substream, how often all lanes take a symbol; one lane takes the rest.
        words: Of each substream, its 16-bit words.
    """

    lanes: int
    groups: list[int]
    words: list[int]

    @property
    def substreams(self) -> int:
        """How many threads can decode the stream."""
        return len(self.groups)


def inspect(stream: Any) -> StreamInfo:
    """Reads the header of a stream.

    Args:
        stream: bytes, bytearray, memoryview or an array of uint8.

    Raises:
        StreamError: The bytes cannot be a stream.
    """
    return StreamInfo(*inspect_lanes(stream))
