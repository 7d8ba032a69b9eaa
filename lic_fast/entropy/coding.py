"""Symbols of an image into streams, and back, in either layout.

:class:`SliceEncoder` and :class:`SliceDecoder` stand where
:func:`lic_fast.entropy.run_slices` asks for a quantizer, so that encoder and
decoder run the same slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from lic_fast import ans, rans
from lic_fast.ans import CdfTables
from lic_fast.ops import dequantize, quantize, scale_index
from lic_fast.stream_layout import StreamLayout
from lic_fast.streams import symbols_checksum

__all__ = [
    "Message",
    "SliceDecoder",
    "SliceEncoder",
    "StreamReader",
    "decode_hyperlatent",
    "encode_messages",
    "hyperlatent_message",
    "open_stream",
]

Message = Sequence[tuple[np.ndarray, np.ndarray]]
"""Symbols and indexes of each step, in coding order."""


class StreamReader(Protocol):
    """A stream that is being decoded, step by step."""

    def decode(self, indexes: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
        """The symbols of the next step, one for each index: `out`, int16, or new, int32.

        Raises:
            StreamError: The stream is cut or otherwise impossible.
            OverflowError: A symbol does not fit `out`. Then nothing has been read.
        """

    def finish(self) -> None:
        """Checks that the stream ends here.

        Raises:
            StreamError: It does not.
        """


class _CompressaiReader:
    def __init__(self, string: bytes, tables: CdfTables) -> None:
        self._decoder = ans.RansDecoder()
        self._decoder.set_stream(string)
        self._tables = tables
        self._kept: np.ndarray | None = None
        self.finish = self._decoder.finish

    def decode(self, indexes: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
        symbols = (
            self._decoder.decode_stream(indexes, self._tables) if self._kept is None else self._kept
        )
        self._kept = None
        if out is None:
            return symbols
        if np.abs(symbols, dtype=np.int64).max(initial=0) > np.iinfo(out.dtype).max:
            self._kept = symbols  # the decoder is behind them
            raise OverflowError("a symbol does not fit")
        out[...] = symbols
        return out


def open_stream(string: bytes, tables: CdfTables, layout: StreamLayout) -> StreamReader:
    """Begins to decode a stream.

    Raises:
        StreamError: The bytes cannot be a stream of that layout.
    """
    if layout is StreamLayout.COMPRESSAI:
        return _CompressaiReader(string, tables)
    decoder = rans.Decoder(tables)
    decoder.start(string)
    return cast(StreamReader, decoder)  # its overloads say which `out` gives which type


def encode_messages(
    messages: Sequence[Message], tables: CdfTables, layout: StreamLayout
) -> list[bytes]:
    """One stream for each message."""
    if layout is StreamLayout.LANES:
        return rans.Encoder(tables).encode_batch(messages)
    streams = []
    for message in messages:
        encoder = ans.BufferedRansEncoder()
        for symbols, indexes in message:
            encoder.encode_with_indexes(symbols, indexes, tables)
        streams.append(encoder.flush())
    return streams


def hyperlatent_message(symbols: np.ndarray) -> Message:
    """Z's symbols, (channel, row, column), each channel by the CDF of its number."""
    return [(symbols, _channel_index(symbols.shape))]


def decode_hyperlatent(
    string: bytes, shape: tuple[int, int, int], tables: CdfTables, layout: StreamLayout
) -> np.ndarray:
    """The symbols of a :func:`hyperlatent_message`, int32.

    Raises:
        StreamError: The stream is cut, lengthened or otherwise impossible.
    """
    reader = open_stream(string, tables, layout)
    symbols = reader.decode(_channel_index(shape))
    reader.finish()
    return symbols


def _channel_index(shape: tuple[int, ...]) -> np.ndarray:
    channels = np.arange(shape[0], dtype=np.int16)
    return np.ascontiguousarray(np.broadcast_to(channels[:, None, None], shape))


class SliceEncoder:
    """Rounds the slices of one image's y and collects their symbols.

    Args:
        y: (1, M, H, W).
        scale_table: (n,) ascending scales of the CDFs.

    Raises:
        LatentError: In a call, if a symbol is not finite or beyond 2^29.
    """

    def __init__(self, y: Tensor, scale_table: Tensor) -> None:
        self._y = y
        self._scale_table = scale_table
        self.message: list[tuple[np.ndarray, np.ndarray]] = []

    def __call__(self, channels: slice, mean: Tensor, scale: Tensor) -> Tensor:
        """Symbols + mean of these channels of y."""
        quantized = quantize(self._y[:, channels], mean, scale, self._scale_table)
        self.message.append((quantized.symbols.cpu().numpy(), quantized.indexes.cpu().numpy()))
        return quantized.y_hat

    def checksum(self, z_symbols: np.ndarray) -> int:
        """See :func:`lic_fast.streams.symbols_checksum`."""
        return symbols_checksum(z_symbols, (symbols for symbols, _ in self.message))


class SliceDecoder:
    """Reads the slices of one image's y.

    Args:
        reader: The stream of all slices.
        scale_table: (n,) ascending scales of the CDFs.

    Raises:
        StreamError: In a call, if the stream is cut or otherwise impossible.
    """

    def __init__(self, reader: StreamReader, scale_table: Tensor) -> None:
        self._reader = reader
        self._scale_table = scale_table
        self.symbols: list[np.ndarray] = []

    def __call__(self, channels: slice, mean: Tensor, scale: Tensor) -> Tensor:
        """Symbols + mean of these channels of y."""
        indexes = scale_index(scale, self._scale_table).cpu().numpy()
        symbols = self._reader.decode(indexes)
        self.symbols.append(symbols)
        return dequantize(torch.from_numpy(symbols).to(mean.device), mean)

    def checksum(self, z_symbols: np.ndarray) -> int:
        """See :func:`lic_fast.streams.symbols_checksum`."""
        return symbols_checksum(z_symbols, self.symbols)
