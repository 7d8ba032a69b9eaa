"""What STF, WACNN and TCM share: everything around their transforms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from lic_fast import engine
from lic_fast.entropy import LatentStreams, Quantizer, SliceLatents, SliceNetworks, run_slices
from lic_fast.entropy.coding import SliceDecoder, SliceEncoder
from lic_fast.entropy.integer.path import integer_path, run_path
from lic_fast.models import on_device
from lic_fast.models.gains import ModelWithGains, Quality
from lic_fast.models.inputs import (
    MAX_PIXELS,
    check_latents,
    check_pixels,
    check_streams,
    checked_shape,
    checked_strings,
)
from lic_fast.models.latents import image_of, likelihoods_of, rounder, unmixed
from lic_fast.models.stored import StoredModel
from lic_fast.ops import round_ste, to_symbols
from lic_fast.ops.dispatch import fast_bfloat16
from lic_fast.runtime.coding import (
    check_finite,
    check_symbols,
    decode_hyperlatent,
    encode_messages,
    hyperlatent_message,
    open_stream,
)
from lic_fast.stream_layout import StreamLayout

__all__ = ["Precision", "SliceCompressionModel"]

Precision = Literal["float32", "bfloat16", "float16"]
"""A floating-point type, by its name in torch."""


class SliceCompressionModel(ModelWithGains, StoredModel):
    """An autoencoder whose latents are coded by the channel-slice entropy model.

    The transforms, :meth:`analysis` and :meth:`synthesis`, may round as they
    like. The entropy path, from the hyperlatents to y_hat, runs one image at a
    time outside training, so that a stream does not depend on the batch that
    its image was in.

    Attributes:
        architecture: Name of the class, as checkpoints and files state it.
        portable: Whether streams decode on any machine. If not, the entropy path
            computes in floating point, whose rounding differs between machines;
            :func:`lic_fast.make_portable` turns such a model into a portable one.
        cuda_graphs: Whether what a GPU does for a size is recorded when the size comes again,
            and played back from then on; see :mod:`lic_fast.models.graphs`.
        z_downsampling: Pixels per element of z along each side.
        arguments: The constructor's keywords, enough to build the model again.
        M: Channels of the latents.
    """

    _precision: Precision | None = None

    architecture: ClassVar[str]
    portable: bool = False
    cuda_graphs: bool = True
    z_downsampling: ClassVar[int] = 64

    h_a: nn.Module
    h_mean_s: nn.Module
    h_scale_s: nn.Module
    cc_mean_transforms: nn.ModuleList
    cc_scale_transforms: nn.ModuleList
    lrp_transforms: nn.ModuleList
    M: int
    num_slices: int
    max_support_slices: int
    arguments: dict[str, Any]

    @property
    def precision(self) -> Precision:
        """Floating-point type of the transforms: "float32", "bfloat16" or "float16".

        "float32" stands for the type that parameters and input have. The others
        apply where the transforms run as programs, which hold copies of the weights
        in that type: modules compute in the parameters' type, and so do training and
        whatever else needs gradients, a transform that is watched or changed, and
        the entropy path.
        The default is "float32", and for a portable model "bfloat16" on a CPU or GPU
        that is faster in it: nothing depends on how its transforms round. CPUs compute
        in float32 for "float16", which they do not multiply.
        The choice is no part of the state dict or the fingerprint, and a stream
        decodes at any precision: only the reconstruction's last bits change.
        """
        if self._precision is None:
            fast = self.portable and fast_bfloat16(self._medians().device)
            return "bfloat16" if fast else "float32"
        return self._precision

    @precision.setter
    def precision(self, name: Precision | None) -> None:
        if name is not None and name not in get_args(Precision):
            raise ValueError(
                f"precision must be one of {', '.join(get_args(Precision))}, or None for the "
                f"default, not {name!r}"
            )
        self._precision = name

    # What a model defines.

    @property
    @abstractmethod
    def multiple(self) -> int:
        """The sides of an input must be multiples of this number of pixels."""

    @abstractmethod
    def analysis(self, x: Tensor) -> Tensor:
        """g_a: pixels (B, 3, H, W) to latents y (B, M, H/16, W/16)."""

    @abstractmethod
    def synthesis(self, y_hat: Tensor) -> Tensor:
        """g_s: latents (B, M, H/16, W/16) to pixels (B, 3, H, W), not yet clamped."""

    @classmethod
    @abstractmethod
    def arguments_from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
        """The constructor's arguments, from the names and shapes of a state dict.

        Raises:
            KeyError, IndexError, ValueError: The entries are not this model's.
        """

    def slice_networks(self) -> SliceNetworks:
        """The networks of the slices."""
        return SliceNetworks(
            mean=self.cc_mean_transforms,
            scale=self.cc_scale_transforms,
            lrp=self.lrp_transforms,
            max_support_slices=self.max_support_slices,
            exact=self.portable,
        )

    def _network(self, network: nn.Module, x: Tensor, method: str = "forward") -> Tensor:
        """``network.method(x)``, as a program where it may run as one.

        The transforms, which are methods of the model itself, run in :attr:`precision`.
        """
        if not torch.is_grad_enabled():
            x = x.contiguous()  # modules round differently with channels last
        precision = self.precision if network is self else "float32"
        return engine.run(network, x, method=method, precision=precision)

    # The entropy path.

    def _latents(self, z_hat: Tensor, quantize: Quantizer) -> SliceLatents:
        if self.portable:
            self._check_portable(z_hat)
            return self._exact_latents(z_hat, quantize)
        return self._all_slices(z_hat, quantize)

    # A compiler may contract a product and a sum.
    @torch.compiler.disable
    def _exact_latents(self, z_hat: Tensor, quantize: Quantizer) -> SliceLatents:
        return self._all_slices(z_hat, quantize)

    def _all_slices(self, z_hat: Tensor, quantize: Quantizer) -> SliceLatents:
        networks = self.slice_networks()
        path = integer_path(self.h_mean_s, self.h_scale_s, networks, z_hat)
        if path is not None:
            return SliceLatents([run_path(path, z_hat, quantize)])
        means = self._network(self.h_mean_s, z_hat)
        scales = self._network(self.h_scale_s, z_hat)
        return run_slices(networks, means, scales, quantize)

    def _check_portable(self, z_hat: Tensor) -> None:
        if self.training:
            raise ValueError(
                "a portable model does not train: train the model that it was made from"
            )
        types = {z_hat.dtype, self.gaussian_conditional.scale_table.dtype}
        if types != {torch.float32}:
            raise ValueError(
                "a portable model's entropy path is defined in float32: leave the model in it, "
                "and set model.precision for transforms of another type"
            )

    def _medians(self) -> Tensor:
        return self.entropy_bottleneck.quantiles[:, 0, 1].detach().view(1, -1, 1, 1)

    def forward(self, x: Tensor, *, quality: Quality | None = None) -> dict[str, Any]:
        """Pixels to reconstruction and likelihoods.

        In training the likelihoods see uniform noise and y_hat is rounded with
        a straight-through gradient; in evaluation both see the rounded latents,
        and `x_hat`, clamped to [0, 1], is what :meth:`decompress` gives.

        Args:
            x: (B, 3, H, W), in [0, 1], sides multiples of :attr:`multiple`; of the parameters'
                type and on their device.
            quality: Of a model with gains: from 1 to 100, the best; one number or one for each
                image; 50 if None. A model of one rate takes none.

        Returns:
            ``{"x_hat": (B, 3, H, W), "likelihoods": {"y": (B, M, H/16, W/16),
            "z": (B, channels, H/64, W/64)}}``.

        Raises:
            TypeError: The input is no dense tensor of the parameters' type on their device.
            ValueError: The input has another shape, a quality is not from 1 to 100, or the model
                takes none.
        """
        check_pixels(self, x)
        if self.portable and torch.is_grad_enabled():
            # Integers have no gradient, and with one the transforms would round otherwise.
            with torch.no_grad():
                return self.forward(x, quality=quality)
        qualities = self._qualities(quality, len(x))
        y = self._scaled(unmixed(self._network(self, x, "analysis")), qualities)
        z = unmixed(self._network(self.h_a, y))
        z_likelihoods = likelihoods_of(self.entropy_bottleneck, z)
        medians = self._medians()
        z_hat = round_ste(z - medians) + medians
        if self.training:
            latents = self._latents(z_hat, rounder(y))
        else:
            latents = SliceLatents.batched(
                [self._latents(image_of(z_hat, i), rounder(image_of(y, i))) for i in range(len(x))]
            )
        _, y_likelihoods = self.gaussian_conditional(y, latents.scales, latents.means)
        y_hat = self._unscaled(latents.y_hat, qualities)
        return {
            "x_hat": self._network(self, y_hat, "synthesis").contiguous(),
            "likelihoods": {"y": y_likelihoods, "z": z_likelihoods},
        }

    @torch.no_grad()
    def encode(
        self,
        x: Tensor,
        *,
        quality: Quality | None = None,
        layout: StreamLayout | str = StreamLayout.LANES,
    ) -> LatentStreams:
        """Pixels to streams, with a checksum of each image's symbols.

        Args:
            x: (B, 3, H, W), in [0, 1], sides multiples of :attr:`multiple`; of the parameters'
                type and on their device.
            quality: As for :meth:`forward`.
            layout: Of the streams: "lanes", the fast one, or "compressai".

        Raises:
            TypeError: As for :meth:`forward`.
            ValueError: The input has another shape, the quality is refused as by :meth:`forward`,
                the tables are missing (:meth:`update` makes them), or there is no such layout.
            LatentError: The latents are not finite.
        """
        layout = StreamLayout.of(layout)
        check_pixels(self, x)
        qualities = self._qualities(quality, len(x))
        if x.is_cuda:
            return on_device.encode(self, x, layout, qualities)
        return self._encode(self._network(self, x, "analysis"), qualities, layout)[0]

    @torch.no_grad()
    def analyse(self, x: Tensor) -> Tensor:
        """The latents of x as :meth:`encode_latents` codes them, at any quality.

        Args:
            x: (B, 3, H, W), in [0, 1], sides multiples of :attr:`multiple`; of the parameters'
                type and on their device.

        Returns:
            (B, M, H/16, W/16).

        Raises:
            TypeError, ValueError: As for :meth:`forward`.
        """
        check_pixels(self, x)
        return self._network(self, x, "analysis")

    @torch.no_grad()
    def encode_latents(
        self,
        y: Tensor,
        *,
        quality: Quality | None = None,
        layout: StreamLayout | str = StreamLayout.LANES,
    ) -> tuple[LatentStreams, Tensor]:
        """Latents to streams; several qualities of a picture need one :meth:`analyse`.

        On a CPU, ``encode(x)`` is ``encode_latents(analyse(x))``.

        Args:
            y: From :meth:`analyse`.
            quality: As for :meth:`forward`.
            layout: As for :meth:`encode`.

        Returns:
            The streams, and the decoded latents that :meth:`reconstruct` makes the picture of.

        Raises:
            TypeError, ValueError, LatentError: As for :meth:`encode`.
        """
        check_latents(self, y)
        return self._encode(y, self._qualities(quality, len(y)), StreamLayout.of(layout))

    @torch.no_grad()
    def reconstruct(self, y_hat: Tensor, *, quality: Quality | None = None) -> Tensor:
        """The picture that a decoder makes of the decoded latents.

        Args:
            y_hat: (B, M, H/16, W/16), from :meth:`encode_latents`.
            quality: That which they were coded with.

        Returns:
            (B, 3, H, W) in [0, 1].

        Raises:
            LatentError: The picture is not finite.
            TypeError, ValueError: As for :meth:`encode`; or the quality is missing.
        """
        check_latents(self, y_hat)
        return self._reconstruct(y_hat, self._qualities(quality, len(y_hat), None))

    def _encode(
        self, y: Tensor, qualities: list[float] | None, layout: StreamLayout
    ) -> tuple[LatentStreams, Tensor]:
        z_tables, y_tables = self.cdf_tables()
        medians = self._medians()
        y = self._scaled(y, qualities)
        z_symbols = (self._network(self.h_a, y) - medians).round()
        y_messages, z_messages, checksums, y_hat = [], [], [], []
        for i in range(len(y)):
            symbols = to_symbols(z_symbols[i]).cpu().numpy()
            encoder = SliceEncoder(image_of(y, i), self.gaussian_conditional.scale_table)
            y_hat.append(self._latents(image_of(z_symbols, i) + medians, encoder).y_hat)
            y_messages.append(encoder.message)
            z_messages.append(hyperlatent_message(symbols))
            checksums.append(encoder.checksum(symbols))
        streams = LatentStreams(
            encode_messages(y_messages, y_tables, layout),
            encode_messages(z_messages, z_tables, layout),
            (int(z_symbols.shape[2]), int(z_symbols.shape[3])),
            checksums,
            layout,
            qualities,
        )
        return streams, _joined(y_hat)

    @torch.no_grad()
    def decode(self, streams: LatentStreams) -> Tensor:
        """Streams to pixels.

        Args:
            streams: What :meth:`encode` gave: of a portable model on any machine, of one in
                floating point on this one, by the same device and arithmetic. Their shape says how
                much memory is taken; :mod:`lic_fast.codec` has a bound for it.

        Returns:
            (B, 3, H, W) in [0, 1].

        Raises:
            StreamError: A stream is cut, lengthened or otherwise impossible.
            ChecksumError: The decoded symbols are not those that were encoded.
            LatentError: The picture is not finite.
            ValueError: The streams have another form, or the tables are missing.
        """
        check_streams(self, streams)
        qualities = self._qualities(streams.quality, len(streams.y), None)
        if self._medians().is_cuda:
            return on_device.decode(self, streams)
        return self._decode(streams, qualities)

    def _decode(self, streams: LatentStreams, qualities: list[float] | None) -> Tensor:
        z_tables, y_tables = self.cdf_tables()
        medians = self._medians()
        z_shape = (self.entropy_bottleneck.channels, *streams.shape)
        y_hat = []
        for i, (y_string, z_string) in enumerate(zip(streams.y, streams.z, strict=True)):
            z_symbols = decode_hyperlatent(z_string, z_shape, z_tables, streams.layout)
            reader = open_stream(y_string, y_tables, streams.layout)
            decoder = SliceDecoder(reader, self.gaussian_conditional.scale_table)
            z_hat = torch.from_numpy(z_symbols)[None].to(medians) + medians
            y_hat.append(self._latents(z_hat, decoder).y_hat)
            reader.finish()
            check_symbols(streams, i, decoder.checksum(z_symbols))
        return self._reconstruct(_joined(y_hat), qualities)

    def _reconstruct(self, y_hat: Tensor, qualities: list[float] | None) -> Tensor:
        x_hat = self._network(self, self._unscaled(y_hat, qualities), "synthesis")
        # Before the clamp, which would turn infinity into white.
        check_finite(bool(x_hat.isfinite().all()))
        return x_hat.contiguous().clamp_(0, 1)

    def compress(
        self,
        x: Tensor,
        *,
        quality: Quality | None = None,
        layout: StreamLayout | str = StreamLayout.LANES,
    ) -> dict[str, Any]:
        """Pixels to strings, in CompressAI's form.

        Args:
            x: (B, 3, H, W), in [0, 1], sides multiples of :attr:`multiple`; of the parameters'
                type and on their device.
            quality: As for :meth:`forward`.
            layout: Of the strings: "lanes", the fast one, or "compressai", those
                that the original implementations read.

        Returns:
            ``{"strings": [y_strings, z_strings], "shape": shape of z}``, one
            string of each kind per image. For one image that is the structure
            of the original implementations. A model with gains adds ``"quality"``, that of each
            image, so that ``decompress(**strings)`` has all it needs.

        Raises:
            TypeError, ValueError, LatentError: As for :meth:`encode`.
        """
        streams = self.encode(x, quality=quality, layout=layout)
        strings = {"strings": [streams.y, streams.z], "shape": torch.Size(streams.shape)}
        return strings if streams.quality is None else {**strings, "quality": streams.quality}

    def decompress(
        self,
        strings: Sequence[Sequence[bytes]],
        shape: Sequence[int],
        *,
        quality: Quality | None = None,
        layout: StreamLayout | str = StreamLayout.LANES,
        max_pixels: int = MAX_PIXELS,
    ) -> dict[str, Tensor]:
        """Strings to pixels: the inverse of :meth:`compress`.

        Strings hold no checksum. Those of a model in floating point can give a wrong picture
        without an error on another CPU, device, PyTorch or number of threads. A portable model
        (:func:`lic_fast.make_portable`) decodes its strings alike everywhere; in ``.lic`` files
        (:mod:`lic_fast.codec`) a checksum of the symbols makes a wrong picture an error.

        Args:
            strings: ``[y_strings, z_strings]``.
            shape: Rows and columns of z.
            quality: Of a model with gains: that which :meth:`compress` coded with.
            layout: Of the strings, which do not tell: that which :meth:`compress`
                was given, "compressai" for strings of the original implementations.
            max_pixels: Of a picture: a few bytes can stand for any number, so that a larger
                shape is refused before memory is taken for it.

        Returns:
            ``{"x_hat": (B, 3, H, W)}`` in [0, 1].

        Raises:
            TypeError: The strings are no lists of bytes.
            StreamError, LatentError, ValueError: As for :meth:`decode`; or the shape is no two
                positive whole numbers, or that of a larger picture.
        """
        y_strings, z_strings = checked_strings(strings)
        streams = LatentStreams(
            y_strings,
            z_strings,
            checked_shape(self, shape, max_pixels),
            layout=StreamLayout.of(layout),
            quality=self._qualities(quality, len(y_strings), None),
        )
        return {"x_hat": self.decode(streams)}


def _joined(images: Sequence[Tensor]) -> Tensor:
    """A batch of images, each (1, ...)."""
    return images[0] if len(images) == 1 else torch.cat(list(images))
