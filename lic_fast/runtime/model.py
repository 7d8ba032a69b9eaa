"""A portable model that codes pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lic_fast.ans import CdfTables
from lic_fast.errors import CheckpointError
from lic_fast.runtime import gains
from lic_fast.runtime.coding import (
    SliceDecoder,
    SliceEncoder,
    check_finite,
    check_peak,
    check_symbols,
    decode_hyperlatent,
    encode_messages,
    hyperlatent_message,
    open_stream,
)
from lic_fast.runtime.entropy_path import PackedEntropyPath
from lic_fast.runtime.faults import FAULTS, reason
from lic_fast.runtime.file import ModelData
from lic_fast.runtime.limits import MOST_BYTES, check_sizes
from lic_fast.runtime.program import Padding, Program, fast_bfloat16
from lic_fast.runtime.threads import threads
from lic_fast.stream_layout import StreamLayout
from lic_fast.streams import LatentStreams, symbols_checksum

__all__ = ["PortableModel"]

_Floats = npt.NDArray[np.float32]


class PortableModel:
    """A model whose streams decode on any machine, run without PyTorch.

    It is a :class:`lic_fast.codec.coder.PictureCoder`, which has the descriptions of its methods.
    The streams are those of the torch model that :func:`lic_fast.load` makes of the same file, bit
    for bit. Calls from several threads at once are separate.

    Args:
        data: What its file holds.

    Attributes:
        architecture: Name of its torch class.
        multiple: The sides of a padded picture are multiples of this number of pixels.
        z_downsampling: Pixels per hyperlatent along each side.
        anchor_qualities: The qualities at which gains were trained, ascending; empty in a model of
            one rate.
        precision: Of the transforms' maps, "bfloat16" where that is faster on this CPU, else
            "float32".

    Raises:
        CheckpointError: Its parts do not fit each other.
    """

    portable = True

    def __init__(self, data: ModelData) -> None:
        self.architecture = data.architecture
        self.multiple = data.multiple
        self.z_downsampling = data.z_downsampling
        self._fingerprint = data.fingerprint
        self.precision = "bfloat16" if fast_bfloat16() else "float32"
        try:
            self._make(data)
        except FAULTS as error:
            raise CheckpointError(f"its parts do not fit each other: {reason(error)}") from None

    def _make(self, data: ModelData) -> None:
        check_sizes(data)
        bfloat16 = self.precision == "bfloat16"
        self._analysis = Program(data.analysis, bfloat16, reads_pixels=True)
        self._synthesis = Program(data.synthesis, bfloat16, writes_pixels=True)
        self._hyper_analysis = Program(data.hyper_analysis, False)
        self._path = PackedEntropyPath(data.path)
        self._medians = _checked("medians", data.medians, np.float32, 1)
        self._scale_table = _checked("scale_table", data.scale_table, np.float32, 1)
        if not (self._scale_table > 0).all() or not (np.diff(self._scale_table) > 0).all():
            raise ValueError("the scale table does not ascend from above 0")
        self._z_tables, self._y_tables = CdfTables(*data.z_tables), CdfTables(*data.y_tables)
        if len(data.z_tables[0]) != len(self._medians):
            raise ValueError("the hyperlatents have another number of CDFs")
        if len(data.y_tables[0]) != len(self._scale_table):
            raise ValueError("the scale table has another number of CDFs")
        self._check_networks()
        self._gains: tuple[Any, Any] | None = None
        self.anchor_qualities: list[float] = []
        if data.gains is not None:
            y_gain, y_inv_gain = (_checked("gains", one, np.float32, 2) for one in data.gains)
            if y_gain.shape != y_inv_gain.shape or y_gain.shape[1] != self._path.latents:
                raise ValueError("gains do not fit the latents")
            if len(y_gain) < 2:
                raise ValueError("there must be at least two gains")
            self._gains = y_gain, y_inv_gain
            self.anchor_qualities = gains.anchor_qualities(len(y_gain))

    def _check_networks(self) -> None:
        side, channels = self.multiple, self._path.latents
        latents = side * self._path.up // self.z_downsampling
        for name, program, given, wanted in (
            ("analysis", self._analysis, side, channels),
            ("synthesis", self._synthesis, latents, 3),
            ("hyper-analysis", self._hyper_analysis, latents, len(self._medians)),
        ):
            if program.channels[0] != wanted:
                raise ValueError(
                    f"the {name} gives {program.channels[0]} channels, they must be {wanted}"
                )
            if program.memory(given, given, 1) > MOST_BYTES:
                raise ValueError(f"the {name} takes too much memory for any picture to be coded")
        if self._path.hyperlatents != len(self._medians):
            raise ValueError("the entropy path reads other hyperlatents")

    def fingerprint(self) -> bytes:
        """Eight bytes that tell models apart whose weights or CDF tables differ."""
        return self._fingerprint

    def analyse(self, pixels: np.ndarray, padding: Padding) -> _Floats:
        """The latents of a picture, (1, H/16, W/16, M)."""
        left, top, right, bottom = padding
        height, width = pixels.shape[:2]
        out = self._analysis.empty(1, top + height + bottom, left + width + right)
        self._analysis.run([pixels[None]], [out], threads(), padding=padding)
        return out

    def encode(
        self, pixels: np.ndarray, padding: Padding, *, quality: float | None, layout: StreamLayout
    ) -> LatentStreams:
        """A picture's streams."""
        quality = self._quality(quality)
        latents = self.analyse(pixels, padding)
        return self.encode_latents(latents, quality=quality, layout=layout)[0]

    def encode_latents(
        self, latents: _Floats, *, quality: float | None, layout: StreamLayout
    ) -> tuple[LatentStreams, _Floats]:
        """The streams of latents, and the decoded latents."""
        quality = self._quality(quality)
        y = self._times_gain(latents, 0, quality)
        z_symbols = np.rint(self._hyper_analysis(y, threads()) - self._medians)
        check_peak(float(np.abs(z_symbols).max(initial=0)))
        symbols = np.ascontiguousarray(z_symbols[0].transpose(2, 0, 1), np.int32)
        encoder = SliceEncoder(y, self._scale_table, threads())
        y_hat, _, _ = self._path.run(z_symbols + self._medians, encoder, threads())
        checksum = symbols_checksum(symbols, (symbols for symbols, _ in encoder.message))
        streams = LatentStreams(
            encode_messages([encoder.message], self._y_tables, layout),
            encode_messages([hyperlatent_message(symbols)], self._z_tables, layout),
            (symbols.shape[1], symbols.shape[2]),
            [checksum],
            layout,
            None if quality is None else [quality],
        )
        return streams, y_hat

    def decode(self, streams: LatentStreams, padding: Padding) -> np.ndarray:
        """The picture in streams."""
        self._check_streams(streams)
        quality = None if streams.quality is None else streams.quality[0]
        if quality is None and self._gains is not None:
            raise ValueError(gains.NO_QUALITY)
        quality = self._quality(quality)
        z_shape = (len(self._medians), *streams.shape)
        z_symbols = decode_hyperlatent(streams.z[0], z_shape, self._z_tables, streams.layout)
        reader = open_stream(streams.y[0], self._y_tables, streams.layout)
        decoder = SliceDecoder(reader, self._scale_table, threads(), z_symbols)
        z_hat = z_symbols.transpose(1, 2, 0)[None].astype(np.float32) + self._medians
        y_hat, _, _ = self._path.run(np.ascontiguousarray(z_hat), decoder, threads())
        reader.finish()
        check_symbols(streams, 0, decoder.checksum)
        return self.reconstruct(y_hat, padding, quality=quality)

    def reconstruct(self, y_hat: _Floats, padding: Padding, *, quality: float | None) -> np.ndarray:
        """The picture that a decoder makes of decoded latents."""
        y_hat = self._times_gain(y_hat, 1, self._quality(quality))
        left, top, right, bottom = padding
        ((height, width),) = self._synthesis.output_sizes(*y_hat.shape[1:3])
        pixels = np.empty((height - top - bottom, width - left - right, 3), np.uint8)
        check_finite(self._synthesis.run([y_hat], [pixels[None]], threads(), padding=padding))
        return pixels

    def _quality(self, quality: float | None) -> float | None:
        if self._gains is None:
            if quality is not None:
                raise ValueError(gains.NO_GAINS)
            return None
        return gains.check_quality(gains.DEFAULT if quality is None else quality, 1)[0]

    def _times_gain(self, y: _Floats, which: int, quality: float | None) -> _Floats:
        if quality is None or self._gains is None:
            return y
        found: _Floats = y * gains.interpolated(self._gains[which], [quality])
        return found

    def _check_streams(self, streams: LatentStreams) -> None:
        if len(streams.y) != 1 or len(streams.z) != 1:
            raise ValueError("the streams must be those of one picture")
        step = max(1, self.multiple // self.z_downsampling)
        if any(side < 1 or side % step for side in streams.shape):
            raise ValueError(
                f"the sides of {self.architecture}'s z are multiples of {step}, not "
                f"{tuple(streams.shape)}"
            )


def _checked(name: str, array: np.ndarray, dtype: Any, dimensions: int) -> Any:
    if array.dtype != dtype or array.ndim != dimensions or not array.size:
        raise ValueError(f"{name} are {array.dtype} {array.shape}")
    return array
