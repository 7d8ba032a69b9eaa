"""Symbols of an image into streams, and back, in either layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from lic_fast import _C, ans, rans
from lic_fast.ans import CdfTables
from lic_fast.errors import ChecksumError, LatentError
from lic_fast.runtime.memory import empty
from lic_fast.stream_layout import StreamLayout
from lic_fast.streams import LatentStreams, symbols_checksum

__all__ = [
    "LARGEST_SYMBOL",
    "Message",
    "SliceDecoder",
    "SliceEncoder",
    "StreamReader",
    "check_finite",
    "check_peak",
    "check_symbols",
    "decode_hyperlatent",
    "encode_messages",
    "hyperlatent_message",
    "open_stream",
]

LARGEST_SYMBOL = 2**29
"""Symbols of both layouts are below this in magnitude."""

Message = Sequence[tuple[np.ndarray, np.ndarray]]
"""Symbols and indexes of each step, in coding order."""

_Floats = npt.NDArray[np.float32]


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


def check_peak(peak: float) -> None:
    """Refuses latents that no stream holds.

    Args:
        peak: Their largest magnitude, or NaN if one is.

    Raises:
        LatentError: It is not below :data:`LARGEST_SYMBOL`.
    """
    if not peak < LARGEST_SYMBOL:
        raise LatentError(
            "the latents are not finite, or beyond 2^29: check that the picture's values are "
            "in [0, 1] and that the weights are those of a trained model"
        )


def check_symbols(streams: LatentStreams, i: int, actual: int) -> None:
    """Raises ChecksumError if image i's symbols have another checksum than the streams say."""
    if streams.checksums is not None and actual != streams.checksums[i]:
        raise ChecksumError(
            f"image {i}: the decoded symbols have checksum {actual:#010x}, those "
            f"encoded had {streams.checksums[i]:#010x}"
        )


def check_finite(finite: bool) -> None:
    """Raises LatentError if a decoded picture, not yet clamped, is not finite."""
    if not finite:
        raise LatentError(
            "the decoded picture is not finite: the model's weights are damaged, or the "
            "streams are another model's or another machine's"
        )


class SliceEncoder:
    """Rounds the slices of one image's y and collects their symbols.

    It is a :data:`lic_fast.runtime.entropy_path.Quantize`.

    Args:
        y: (1, H, W, M) float32.
        scale_table: (n,) float32, ascending scales of the CDFs.
        threads: That compute.

    Raises:
        LatentError: In a call, if a symbol is not finite or beyond 2^29.
    """

    def __init__(self, y: _Floats, scale_table: _Floats, threads: int) -> None:
        self._y = y
        self._scale_table = scale_table
        self._threads = threads
        self.message: list[tuple[np.ndarray, np.ndarray]] = []

    def __call__(self, channels: slice, means: _Floats, scales: _Floats) -> _Floats:
        """Symbols + means of these channels of y."""
        # Symbols are in (channel, row, column) order.
        y, mean, scale = (x.transpose(0, 3, 1, 2) for x in (self._y[..., channels], means, scales))
        indexes = empty(y.shape, np.uint8)
        y_hat = empty(y.shape, np.float32)
        symbols: np.ndarray = empty(y.shape, np.int16)
        operands = (y, mean, scale, self._scale_table)
        peak = _C.quantize(*operands, symbols, indexes, y_hat, self._threads)
        if not peak < 2**15:
            check_peak(peak)
            symbols = empty(y.shape, np.int32)
            _C.quantize(*operands, symbols, indexes, y_hat, self._threads)
        self.message.append((symbols, indexes))
        return y_hat.transpose(0, 2, 3, 1)


class SliceDecoder:
    """Reads the slices of one image's y.

    It is a :data:`lic_fast.runtime.entropy_path.Quantize`.

    Args:
        reader: The stream of all slices.
        scale_table: (n,) float32, ascending scales of the CDFs.
        threads: That compute.
        z_symbols: Those of the image's hyperlatents, (channel, row, column).

    Attributes:
        checksum: Of all symbols until now, see :func:`lic_fast.streams.symbols_checksum`.

    Raises:
        StreamError: In a call, if the stream is cut or otherwise impossible.
    """

    def __init__(
        self, reader: StreamReader, scale_table: _Floats, threads: int, z_symbols: np.ndarray
    ) -> None:
        self._reader = reader
        self._scale_table = scale_table
        self._threads = threads
        self.checksum = symbols_checksum(z_symbols)

    def __call__(self, channels: slice, means: _Floats, scales: _Floats) -> _Floats:
        """Symbols + means of these channels."""
        mean, scale = (x.transpose(0, 3, 1, 2) for x in (means, scales))
        indexes = empty(mean.shape, np.uint8)
        _C.scale_index(scale, self._scale_table, indexes, self._threads)
        symbols = self._reader.decode(indexes)
        self.checksum = symbols_checksum(symbols, before=self.checksum)
        y_hat = empty(mean.shape, np.float32)
        _C.dequantize(symbols, mean, y_hat, self._threads)
        return y_hat.transpose(0, 2, 3, 1)
