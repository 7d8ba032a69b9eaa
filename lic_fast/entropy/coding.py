"""Symbols of an image's slices, in tensors, into streams and back.

:class:`SliceEncoder` and :class:`SliceDecoder` stand where
:func:`lic_fast.entropy.run_slices` asks for a quantizer, so that encoder and
decoder run the same slices. :mod:`lic_fast.runtime.coding` has streams, and the same in arrays.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lic_fast.ops import dequantize, quantize, scale_index
from lic_fast.runtime.coding import StreamReader
from lic_fast.streams import symbols_checksum

__all__ = ["SliceDecoder", "SliceEncoder"]


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
        """See :func:`lic_fast.entropy.symbols_checksum`."""
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
        """See :func:`lic_fast.entropy.symbols_checksum`."""
        return symbols_checksum(z_symbols, self.symbols)
