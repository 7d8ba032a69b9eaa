"""Symbols of one image into streams of the ``compressai`` layout, and back.

Both classes stand where :func:`lic_fast.entropy.run_slices` asks for a
quantizer, so that encoder and decoder run the same slices.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lic_fast import ans
from lic_fast.entropy.streams import symbols_checksum
from lic_fast.errors import LatentError
from lic_fast.ops import scale_index

__all__ = [
    "SliceDecoder",
    "SliceEncoder",
    "decode_hyperlatent",
    "encode_hyperlatent",
    "to_symbols",
]

# Symbols beyond this are not latents of a sane model, and the escape code of
# the stream ends not far above.
_LARGEST_SYMBOL = 2**29


def to_symbols(values: Tensor) -> np.ndarray:
    """Rounded latents as int32 on the CPU.

    Raises:
        LatentError: A value is NaN, infinite or beyond 2^29.
    """
    if values.numel() and not bool(values.abs().max() < _LARGEST_SYMBOL):
        raise LatentError(
            "the latents are not finite, or beyond 2^29: check that the picture's values are "
            "in [0, 1] and that the weights are those of a trained model"
        )
    return values.to(torch.int32).cpu().numpy()


def encode_hyperlatent(symbols: np.ndarray, tables: ans.CdfTables) -> bytes:
    """Codes z's symbols, (channel, row, column) int32, each channel by the CDF of its number."""
    return ans.RansEncoder().encode_with_indexes(symbols, _channel_index(symbols.shape), tables)


def decode_hyperlatent(
    string: bytes, shape: tuple[int, int, int], tables: ans.CdfTables
) -> np.ndarray:
    """Reads back what :func:`encode_hyperlatent` wrote.

    Raises:
        StreamError: The stream is cut, lengthened or otherwise impossible.
    """
    decoder = ans.RansDecoder()
    decoder.set_stream(string)
    symbols = decoder.decode_stream(_channel_index(shape), tables)
    decoder.finish()
    return symbols


def _channel_index(shape: tuple[int, ...]) -> np.ndarray:
    channels = np.arange(shape[0], dtype=np.int32)
    return np.ascontiguousarray(np.broadcast_to(channels[:, None, None], shape))


class SliceEncoder:
    """Rounds the slices of one image's y and collects their symbols.

    Args:
        y: (1, M, H, W).
        num_slices: Number of slices that M divides into.
        scale_table: (n,) ascending scales of the CDFs.
    """

    def __init__(self, y: Tensor, num_slices: int, scale_table: Tensor) -> None:
        self._slices = y.chunk(num_slices, 1)
        self._scale_table = scale_table
        self.symbols: list[np.ndarray] = []
        self._indexes: list[np.ndarray] = []

    def __call__(self, i: int, mean: Tensor, scale: Tensor) -> Tensor:
        """Symbols + mean of slice i."""
        symbols = (self._slices[i] - mean).round()
        self.symbols.append(to_symbols(symbols[0]))
        self._indexes.append(scale_index(scale[0], self._scale_table).cpu().numpy())
        return symbols + mean

    def finish(self, tables: ans.CdfTables) -> bytes:
        """The stream of all slices."""
        return ans.RansEncoder().encode_with_indexes(
            np.concatenate(self.symbols), np.concatenate(self._indexes), tables
        )

    def checksum(self, z_symbols: np.ndarray) -> int:
        """See :func:`lic_fast.entropy.symbols_checksum`."""
        return symbols_checksum(z_symbols, self.symbols)


class SliceDecoder:
    """Reads the slices of one image's y.

    Args:
        string: The stream of all slices.
        scale_table: (n,) ascending scales of the CDFs.
        tables: The CDFs.

    Raises:
        StreamError: In the call or in :meth:`finish`, if the stream is cut,
            lengthened or otherwise impossible.
    """

    def __init__(self, string: bytes, scale_table: Tensor, tables: ans.CdfTables) -> None:
        self._decoder = ans.RansDecoder()
        self._decoder.set_stream(string)
        self._scale_table = scale_table
        self._tables = tables
        self.symbols: list[np.ndarray] = []

    def __call__(self, i: int, mean: Tensor, scale: Tensor) -> Tensor:
        """Symbols + mean of slice i."""
        indexes = scale_index(scale[0], self._scale_table).cpu().numpy()
        symbols = self._decoder.decode_stream(indexes, self._tables)
        self.symbols.append(symbols)
        return torch.from_numpy(symbols)[None].to(mean) + mean

    def finish(self) -> None:
        """Checks that the stream ends where the last slice does."""
        self._decoder.finish()

    def checksum(self, z_symbols: np.ndarray) -> int:
        """See :func:`lic_fast.entropy.symbols_checksum`."""
        return symbols_checksum(z_symbols, self.symbols)
