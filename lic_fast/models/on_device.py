"""Encoding and decoding on a GPU: jobs of the device's work and what the host does between.

A job's ``run`` calls the model as it is and says by `cut` where the host acts. Run directly it
just computes; recorded by :mod:`lic_fast.models.graphs`, what lies between two cuts becomes a CUDA
graph. An encoder waits for the device once, a decoder once for each step of slices and at its end.
No GPU has run this yet; the tests run it on a CPU.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lic_fast.ans import CdfTables
from lic_fast.entropy import LatentStreams
from lic_fast.entropy.device_coding import Cut, DeviceDecoder, DeviceEncoder, ImageBuffers
from lic_fast.models.gains import interpolated
from lic_fast.models.graphs import Graphs, graphs_of
from lic_fast.models.latents import image_of
from lic_fast.runtime.coding import check_finite, check_symbols, encode_messages
from lic_fast.stream_layout import StreamLayout

if TYPE_CHECKING:
    from lic_fast.models.base import SliceCompressionModel

__all__ = ["Decoding", "Encoding", "Pictures", "decode", "encode"]

_Tables = tuple[CdfTables, CdfTables]


def encode(
    model: SliceCompressionModel,
    x: Tensor,
    layout: StreamLayout,
    quality: list[float] | None = None,
    graphs: Graphs | None = None,
) -> LatentStreams:
    """:meth:`SliceCompressionModel.encode` of an input that has been checked.

    Args:
        model: The model.
        x: (B, 3, H, W) on the model's device.
        layout: Of the streams.
        quality: Of each image; None for a model of one rate.
        graphs: What records jobs; the model's own if None.
    """
    given = Pictures(x, layout, model.cdf_tables(), quality)
    graphs = graphs_of(model) if graphs is None else graphs
    return graphs.run(model, ("encode", x.shape, x.dtype), lambda: Encoding(model, x), given)


def decode(
    model: SliceCompressionModel, streams: LatentStreams, graphs: Graphs | None = None
) -> Tensor:
    """:meth:`SliceCompressionModel.decode` of streams that have been checked.

    Args:
        model: The model.
        streams: The streams.
        graphs: What records jobs; the model's own if None.
    """
    given = _Streams(streams, model.cdf_tables())
    graphs = graphs_of(model) if graphs is None else graphs
    key = ("decode", len(streams.y), streams.shape)
    return graphs.run(model, key, lambda: Decoding(model, len(streams.y), streams.shape), given)


class Pictures(NamedTuple):
    """What is to be encoded."""

    x: Tensor
    layout: StreamLayout
    tables: _Tables
    quality: list[float] | None = None


class _Streams(NamedTuple):
    """What is to be decoded."""

    streams: LatentStreams
    tables: _Tables


class Encoding:
    """Pixels to streams: one run of the device."""

    def __init__(self, model: SliceCompressionModel, x: Tensor) -> None:
        self._x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        z_shape = (x.shape[2] // model.z_downsampling, x.shape[3] // model.z_downsampling)
        self.buffers = [_buffers(model, z_shape, x) for _ in range(len(x))]
        self._gains = _gains(model.y_gain, x)
        self._encoders: list[DeviceEncoder] = []
        self.given: Pictures | None = None

    def run(self, model: SliceCompressionModel, cut: Cut) -> None:
        """See the module."""
        cut(partial(self._load, model))
        medians = model._medians()
        y = model._network(model, self._x, "analysis")
        if self._gains is not None:
            y = y * self._gains
        z_symbols = (model._network(model.h_a, y) - medians).round()
        self._encoders = []
        for i, buffers in enumerate(self.buffers):
            scale_table = model.gaussian_conditional.scale_table
            encoder = DeviceEncoder(image_of(y, i), scale_table, buffers)
            own = image_of(z_symbols, i)
            encoder.hyperlatents(own)
            model._latents(own + medians, encoder)
            encoder.forget()
            buffers.narrow()
            self._encoders.append(encoder)

    def _load(self, model: SliceCompressionModel) -> None:
        assert self.given is not None
        self._x.copy_(self.given.x)
        _fill(self._gains, model.y_gain, self.given.quality)

    def result(self) -> LatentStreams:
        """Waits for the device."""
        assert self.given is not None
        _, layout, (z_tables, y_tables), quality = self.given
        for buffers in self.buffers:
            buffers.fetch()
        if self._x.is_cuda:
            torch.cuda.current_stream(self._x.device).synchronize()
        coded = [encoder.messages() for encoder in self._encoders]
        rows, columns = self.buffers[0].z.shape[2:]
        return LatentStreams(
            encode_messages([y for y, _, _ in coded], y_tables, layout),
            encode_messages([z for _, z, _ in coded], z_tables, layout),
            (int(rows), int(columns)),
            [checksum for _, _, checksum in coded],
            layout,
            quality,
        )


class Decoding:
    """Streams to pixels: one run of the device for each step of slices, and one more."""

    def __init__(self, model: SliceCompressionModel, count: int, shape: tuple[int, int]) -> None:
        like = model._medians()
        self._buffers = [_buffers(model, shape, like) for _ in range(count)]
        self._gains = _gains(model.y_inv_gain, like.expand(count, -1, -1, -1))
        self._decoders: list[DeviceDecoder] = []
        self._x_hat: Tensor | None = None
        self._finite: Tensor | None = None
        self.given: _Streams | None = None

    def run(self, model: SliceCompressionModel, cut: Cut) -> None:
        """See the module."""
        medians = model._medians()
        scale_table = model.gaussian_conditional.scale_table
        self._decoders = [DeviceDecoder(buffers, scale_table, cut) for buffers in self._buffers]
        y_hat = []
        for i, (buffers, decoder) in enumerate(zip(self._buffers, self._decoders, strict=True)):
            cut(partial(self._open, model, i))
            z_hat = buffers.z.to(medians.dtype) + medians
            y_hat.append(model._latents(z_hat, decoder).y_hat)
        latents = torch.cat(y_hat)
        if self._gains is not None:
            latents = latents * self._gains
        self._x_hat = model._network(model, latents, "synthesis")
        self._finite = self._x_hat.isfinite().all()

    def _open(self, model: SliceCompressionModel, i: int) -> None:
        assert self.given is not None
        streams, tables = self.given
        if i == 0:
            _fill(self._gains, model.y_inv_gain, streams.quality)
        self._decoders[i].open(streams.y[i], streams.z[i], tables, streams.layout)

    def result(self) -> Tensor:
        """Looks at the symbols while the device synthesises, then waits for it."""
        assert self.given is not None
        assert self._x_hat is not None
        assert self._finite is not None
        for i, decoder in enumerate(self._decoders):
            check_symbols(self.given.streams, i, decoder.finish())
        x_hat = self._x_hat.clamp(0, 1).contiguous()
        check_finite(bool(self._finite))
        return x_hat


def _buffers(model: SliceCompressionModel, z_shape: tuple[int, int], like: Tensor) -> ImageBuffers:
    rows, columns = (model.z_downsampling // 16 * side for side in z_shape)
    bottleneck = model.entropy_bottleneck.channels
    return ImageBuffers((bottleneck, *z_shape), (model.M, rows, columns), like)


def _gains(anchors: Tensor | None, like: Tensor) -> Tensor | None:
    """Memory for the gains of a batch, if the model has any."""
    if anchors is None:
        return None
    return torch.ones(len(like), anchors.shape[1], 1, 1, dtype=like.dtype, device=like.device)


def _fill(gains: Tensor | None, anchors: Tensor | None, quality: list[float] | None) -> None:
    if gains is not None and anchors is not None and quality is not None:
        gains.copy_(interpolated(anchors, quality))
