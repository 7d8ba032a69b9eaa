"""Symbols of an image between a GPU and the coder on the host, waiting as little as possible.

:class:`DeviceEncoder` and :class:`DeviceDecoder` stand where
:class:`lic_fast.entropy.coding.SliceEncoder` and ``SliceDecoder`` do on a CPU. The encoder never
waits: all steps' symbols and indexes stay on the device until one copy takes them all. The
decoder says where the host has to act, by `cut`, so that what lies between two such places can
be a CUDA graph.

Indexes travel as uint8, symbols as int16 through pinned memory. Whether they fit into that is
decided by the data, of the whole image in an encoder, of each step in a decoder: where one does
not, int32 goes its way instead.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import torch
from torch import Tensor

from lic_fast.ans import CdfTables
from lic_fast.ops import device_latents
from lic_fast.runtime.coding import (
    Message,
    StreamReader,
    check_peak,
    decode_hyperlatent,
    hyperlatent_message,
    open_stream,
)
from lic_fast.stream_layout import StreamLayout
from lic_fast.streams import symbols_checksum

__all__ = ["Cut", "DeviceDecoder", "DeviceEncoder", "ImageBuffers"]

Cut = Callable[[Callable[[], None]], None]
"""Takes what the host does between the device's work before and after."""

_FITS = 2**15


class ImageBuffers:
    """Room for the symbols and indexes of one image, on the device and in the host's memory.

    Args:
        z_shape: Channels, rows and columns of z.
        y_shape: Channels, rows and columns of y.
        like: Of the latents' type, on their device.

    Attributes:
        z: (1, channels, rows, columns) int32 on the device: symbols of z.
        y: Likewise of y.
        indexes: uint8 like `y`.
    """

    def __init__(
        self, z_shape: tuple[int, int, int], y_shape: tuple[int, int, int], like: Tensor
    ) -> None:
        device = like.device
        self._first = prod(z_shape)
        count = self._first + prod(y_shape)
        self._wide = torch.zeros(count, dtype=torch.int32, device=device)
        self._narrow = torch.zeros(count, dtype=torch.int16, device=device)
        self.z = self._wide[: self._first].view(1, *z_shape)
        self.y = self._wide[self._first :].view(1, *y_shape)
        self.indexes = torch.zeros((1, *y_shape), dtype=torch.uint8, device=device)
        self.peak = device_latents.new_peak(like)
        self._host_symbols = _host(self._narrow)
        self._host_indexes = _host(self.indexes)
        self._host_peak = _host(self.peak)
        self._indexes_are_here = _Signal(device)

    # Of an encoder.

    def narrow(self) -> None:
        """Makes what :meth:`fetch` copies, on the device."""
        self._narrow.copy_(self._wide)

    def fetch(self) -> None:
        """Asks for everything; it is there when the device has been waited for."""
        self._host_symbols.copy_(self._narrow, non_blocking=True)
        self._host_indexes.copy_(self.indexes, non_blocking=True)
        self._host_peak.copy_(self.peak, non_blocking=True)

    def fetched(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Symbols of z (channels, rows, columns), of y likewise, indexes of y.

        Views that the next :meth:`fetch` overwrites.

        Raises:
            LatentError: A symbol is not finite, or 2^29 or more in magnitude.
        """
        peak = float(self._host_peak.item())
        check_peak(peak)
        symbols = self._host_symbols if peak < _FITS else self._wide.cpu()
        z, y = symbols.numpy()[: self._first], symbols.numpy()[self._first :]
        return (
            z.reshape(self.z.shape[1:]),
            y.reshape(self.y.shape[1:]),
            self._host_indexes.numpy()[0],
        )

    # Of a decoder.

    def send_indexes(self, channels: slice, indexes: Tensor) -> None:
        """Asks for the indexes (1, c, rows, columns) of these channels."""
        self._host_indexes[:, channels].copy_(indexes, non_blocking=True)
        self._indexes_are_here.record()

    def received_indexes(self, channels: slice) -> np.ndarray:
        """Waits for them: (c, rows, columns)."""
        self._indexes_are_here.wait()
        return self._host_indexes[0, channels].numpy()

    def load_z(self, symbols: np.ndarray) -> None:
        """Brings z's symbols (channels, rows, columns) to the device."""
        peak = np.abs(symbols, dtype=np.int64).max(initial=0)
        if peak < _FITS:
            self._host_symbols.numpy()[: self._first] = symbols.ravel()
            self._upload(0, self._first)
        else:
            self.z.copy_(torch.from_numpy(symbols)[None])

    def decode_step(self, reader: StreamReader, channels: slice) -> np.ndarray:
        """Decodes the symbols of these channels and brings them to the device.

        Returns:
            (c, rows, columns), a view that the next image overwrites.
        """
        indexes = self.received_indexes(channels)
        size = self.y[0, 0].numel()
        first, last = self._first + channels.start * size, self._first + channels.stop * size
        into = self._host_symbols.numpy()[first:last].reshape(indexes.shape)
        try:
            reader.decode(indexes, out=into)
        except OverflowError:
            symbols = reader.decode(indexes)
            self.y[0, channels].copy_(torch.from_numpy(symbols))
            return symbols
        self._upload(first, last)
        return into

    def _upload(self, first: int, last: int) -> None:
        part = slice(first, last)
        self._narrow[part].copy_(self._host_symbols[part], non_blocking=True)
        self._wide[part].copy_(self._narrow[part])


class DeviceEncoder:
    """Rounds the slices of one image's y and leaves their symbols on the device.

    Args:
        y: (1, M, H, W).
        scale_table: (n,) ascending scales of the CDFs.
        buffers: Where symbols and indexes go.
    """

    def __init__(self, y: Tensor, scale_table: Tensor, buffers: ImageBuffers) -> None:
        self._y = y
        self._scale_table = scale_table
        self.buffers = buffers
        self._steps: list[slice] = []
        buffers.peak.zero_()

    def hyperlatents(self, rounded: Tensor) -> None:
        """Takes z - median, rounded, (1, channels, rows, columns)."""
        device_latents.store_symbols(rounded, symbols=self.buffers.z, peak=self.buffers.peak)

    def __call__(self, channels: slice, mean: Tensor, scale: Tensor) -> Tensor:
        """Symbols + mean of these channels of y."""
        self._steps.append(channels)
        return device_latents.quantize(
            self._y[:, channels],
            mean,
            scale,
            self._scale_table,
            symbols=self.buffers.y[:, channels],
            indexes=self.buffers.indexes[:, channels],
            peak=self.buffers.peak,
        )

    def messages(self) -> tuple[Message, Message, int]:
        """What is coded of y and of z, and the checksum, once the buffers have been fetched."""
        z, y, indexes = self.buffers.fetched()
        message = [(y[step], indexes[step]) for step in self._steps]
        checksum = symbols_checksum(z, (symbols for symbols, _ in message))
        return message, hyperlatent_message(z), checksum

    def forget(self) -> None:
        """Lets the latents go."""
        del self._y


class DeviceDecoder:
    """Reads the slices of one image's y.

    Args:
        buffers: Where symbols come from.
        scale_table: (n,) ascending scales of the CDFs.
        cut: Told of everything that the host does.

    Raises:
        StreamError: In what `cut` is given, if the stream is cut or otherwise impossible.
    """

    def __init__(self, buffers: ImageBuffers, scale_table: Tensor, cut: Cut) -> None:
        self._buffers = buffers
        self._scale_table = scale_table
        self._cut = cut
        self._reader: StreamReader | None = None
        self._z = np.zeros(0, np.int32)
        self._symbols: list[np.ndarray] = []

    def open(
        self,
        y_string: bytes,
        z_string: bytes,
        tables: tuple[CdfTables, CdfTables],
        layout: StreamLayout,
    ) -> None:
        """Begins with an image's streams, and brings z's symbols to the device.

        Args:
            y_string: The stream of all slices.
            z_string: That of z.
            tables: Those of z and of y.
            layout: Of both streams.
        """
        z_tables, y_tables = tables
        shape = (*self._buffers.z.shape[1:],)
        self._z = decode_hyperlatent(z_string, shape, z_tables, layout)
        self._reader = open_stream(y_string, y_tables, layout)
        self._symbols = []
        self._buffers.load_z(self._z)

    def __call__(self, channels: slice, mean: Tensor, scale: Tensor) -> Tensor:
        """Symbols + mean of these channels of y."""
        indexes = device_latents.scale_index(scale, self._scale_table)

        def both() -> None:
            self._buffers.send_indexes(channels, indexes)
            self._receive(channels)

        self._cut(both)
        return device_latents.dequantize(self._buffers.y[:, channels], mean)

    def overlapped(
        self, channels: slice, mean: Tensor, scale: Tensor, meanwhile: Callable[[], None]
    ) -> Tensor:
        """See :class:`lic_fast.entropy.slices.OverlappingQuantizer`."""
        indexes = device_latents.scale_index(scale, self._scale_table)
        self._cut(lambda: self._buffers.send_indexes(channels, indexes))
        meanwhile()
        self._cut(lambda: self._receive(channels))
        return device_latents.dequantize(self._buffers.y[:, channels], mean)

    def _receive(self, channels: slice) -> None:
        assert self._reader is not None
        self._symbols.append(self._buffers.decode_step(self._reader, channels))

    def finish(self) -> int:
        """The checksum of an image's symbols.

        Raises:
            StreamError: The stream does not end here.
        """
        assert self._reader is not None
        self._reader.finish()
        return symbols_checksum(self._z, self._symbols)


class _Signal:
    """A place in the device's work for which the host can wait; on a CPU it never has to."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event() if device.type == "cuda" else None

    def record(self) -> None:
        if self._event is not None:
            self._event.record()

    def wait(self) -> None:
        if self._event is not None:
            self._event.synchronize()


def _host(x: Tensor) -> Tensor:
    """Room for x in the host's memory, pinned if x is on a GPU."""
    return torch.zeros(x.shape, dtype=x.dtype, pin_memory=x.device.type == "cuda")
