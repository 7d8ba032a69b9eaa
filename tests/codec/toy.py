"""A coder of pictures that is no torch model, to try the codec with."""

import zlib
from pathlib import Path

import numpy as np

from lic_fast.errors import ChecksumError, StreamError
from lic_fast.stream_layout import StreamLayout
from lic_fast.streams import LatentStreams, symbols_checksum


class ToyCoder:
    """Samples in steps that the quality makes smaller, deflated."""

    portable = True
    architecture = "Toy"
    multiple = 32
    z_downsampling = 16

    def __init__(self, *, gains: bool = False, fingerprint: bytes = b"toycoder") -> None:
        self.anchor_qualities = [1.0, 100.0] if gains else []
        self._fingerprint = fingerprint

    def fingerprint(self):
        return self._fingerprint

    def encode(self, pixels, padding, *, quality, layout):
        return self.encode_latents(self.analyse(pixels, padding), quality=quality, layout=layout)[0]

    def analyse(self, pixels, padding):
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        left, top, right, bottom = padding
        padded = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="edge")
        assert padded.shape[0] % self.multiple == padded.shape[1] % self.multiple == 0
        return padded

    def encode_latents(self, latents, *, quality, layout):
        assert isinstance(layout, StreamLayout)
        if quality is not None and not self.anchor_qualities:
            raise ValueError("takes no quality")
        if self.anchor_qualities and quality is None:
            quality = 50.0
        step = self._step(quality)
        symbols = np.round(latents / step).astype(np.int32)
        shape = (latents.shape[0] // self.z_downsampling, latents.shape[1] // self.z_downsampling)
        streams = LatentStreams(
            [zlib.compress(symbols.astype("<i2").tobytes())],
            [b"z"],
            shape,
            [symbols_checksum(np.zeros(0), [symbols])],
            layout,
            None if quality is None else [quality],
        )
        return streams, symbols

    def decode(self, streams, padding):
        rows, columns = (side * self.z_downsampling for side in streams.shape)
        try:
            values = zlib.decompress(streams.y[0])
            symbols = np.frombuffer(values, "<i2").reshape(rows, columns, 3).astype(np.int32)
        except (zlib.error, ValueError) as error:
            raise StreamError(f"damaged: {error}") from None
        if symbols_checksum(np.zeros(0), [symbols]) != streams.checksums[0]:
            raise ChecksumError("other symbols")
        quality = None if streams.quality is None else streams.quality[0]
        return self.reconstruct(symbols, padding, quality=quality)

    def reconstruct(self, y_hat, padding, *, quality):
        left, top, right, bottom = padding
        rows, columns = y_hat.shape[:2]
        window = y_hat[top : rows - bottom, left : columns - right]
        return np.clip(np.round(window * self._step(quality)), 0, 255).astype(np.uint8)

    @staticmethod
    def _step(quality):
        return 1.0 if quality is None else 64 ** (1 - quality / 100)


def zoo_load(path):
    """A toy for each file of the zoo, in the place of :func:`lic_fast.runtime.load`."""
    from lic_fast import zoo

    return ToyCoder(fingerprint=zoo.describe(Path(path).stem).fingerprint)
