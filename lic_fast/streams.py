"""Coded latents as models hand them to containers, and the checksum of their symbols."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lic_fast.stream_layout import StreamLayout

__all__ = ["LatentStreams", "symbols_checksum"]


@dataclass(frozen=True)
class LatentStreams:
    """The entropy-coded latents of a batch of images.

    Attributes:
        y: One stream of latent symbols per image.
        z: One stream of hyperlatent symbols per image.
        shape: Rows and columns of z.
        checksums: One :func:`symbols_checksum` per image, or None where the
            format that the streams came in holds none.
        layout: How all of these streams are written.
        quality: Of each image, from 1 to 100, with which its latents were scaled; None for a
            model of one rate.
    """

    y: list[bytes]
    z: list[bytes]
    shape: tuple[int, int]
    checksums: list[int] | None = None
    layout: StreamLayout = StreamLayout.LANES
    quality: list[float] | None = None


def symbols_checksum(
    z_symbols: np.ndarray, y_symbols: Iterable[np.ndarray] = (), before: int = 0
) -> int:
    """CRC-32 of an image's symbols in coding order, each as little-endian int32.

    Args:
        z_symbols: Hyperlatent symbols, (channel, row, column).
        y_symbols: Latent symbols of each slice, (channel, row, column).
        before: Checksum of what comes before these, to go on from.
    """
    crc = zlib.crc32(np.ascontiguousarray(z_symbols, dtype="<i4").data, before)
    for symbols in y_symbols:
        crc = zlib.crc32(np.ascontiguousarray(symbols, dtype="<i4").data, crc)
    return crc
