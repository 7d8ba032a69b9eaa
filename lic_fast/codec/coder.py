"""What the codec asks of a model, whoever runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np

from lic_fast.stream_layout import StreamLayout
from lic_fast.streams import LatentStreams

if TYPE_CHECKING:
    from lic_fast.models import SliceCompressionModel

__all__ = ["Padding", "PictureCoder", "coder_of"]

Padding = tuple[int, int, int, int]
"""Pixels (left, top, right, bottom) that a coded picture has beyond the one that it is made of."""


class PictureCoder(Protocol):
    """A model that codes one 8-bit picture at a time.

    :func:`lic_fast.runtime.load` makes one of a portable model's file, without torch;
    :func:`coder_of` makes one of a torch model.

    Pictures are uint8 (H, W, 3) arrays in C order. Before it is coded a picture is extended by
    its padding, by repeating its edges, to sides that are multiples of :attr:`multiple`; of a
    decoded one as much is cut off. Streams are those of one picture.
    """

    @property
    def portable(self) -> bool:
        """Whether streams decode on any machine."""

    @property
    def architecture(self) -> str:
        """Name of the model's class, such as "WACNN"."""

    @property
    def multiple(self) -> int:
        """The sides of a padded picture are multiples of this number of pixels."""

    @property
    def z_downsampling(self) -> int:
        """Pixels per element of z along each side."""

    @property
    def anchor_qualities(self) -> list[float]:
        """The qualities at which gains were trained, ascending; empty in a model of one rate."""

    def fingerprint(self) -> bytes:
        """Eight bytes that tell models apart whose weights or CDF tables differ."""

    def encode(
        self, pixels: np.ndarray, padding: Padding, *, quality: float | None, layout: StreamLayout
    ) -> LatentStreams:
        """A picture's streams, with a checksum of their symbols.

        Args:
            pixels: The picture.
            padding: Of it.
            quality: From 1 to 100, the best; None for a model of one rate, and for 50.
            layout: Of the streams.

        Raises:
            ValueError: The model is of one rate and a quality is given, or it is no such number.
            LatentError: The latents are not finite.
        """

    def decode(self, streams: LatentStreams, padding: Padding) -> np.ndarray:
        """The picture in streams.

        Args:
            streams: Of one picture, with its quality if the model has gains.
            padding: Of the picture.

        Raises:
            StreamError: A stream is cut, lengthened or otherwise impossible.
            ChecksumError: The decoded symbols are not those that were encoded.
            LatentError: The picture is not finite.
            ValueError: The streams have another form, or a quality where there are no gains.
        """

    def analyse(self, pixels: np.ndarray, padding: Padding) -> Any:
        """A picture's latents, for :meth:`encode_latents` at several qualities.

        Args:
            pixels: The picture.
            padding: Of it.
        """

    def encode_latents(
        self, latents: Any, *, quality: float | None, layout: StreamLayout
    ) -> tuple[LatentStreams, Any]:
        """The streams of latents, and the decoded latents for :meth:`reconstruct`.

        Args:
            latents: From :meth:`analyse`.
            quality: As for :meth:`encode`.
            layout: Of the streams.

        Raises:
            ValueError, LatentError: As for :meth:`encode`.
        """

    def reconstruct(self, y_hat: Any, padding: Padding, *, quality: float | None) -> np.ndarray:
        """The picture that a decoder makes of decoded latents.

        Args:
            y_hat: From :meth:`encode_latents`.
            padding: Of the picture.
            quality: That which they were coded with.

        Raises:
            LatentError: The picture is not finite.
        """


def coder_of(model: PictureCoder | SliceCompressionModel) -> PictureCoder:
    """What codes pictures by a model: the model itself, or for a torch model one that runs it.

    Raises:
        ValueError: A torch model is in training mode.
    """
    if _is_torch(model):
        from lic_fast.codec.torch_models import TorchCoder

        return TorchCoder(model)
    return model


def _is_torch(model: object) -> TypeGuard[SliceCompressionModel]:
    # By the names of its bases: torch may not be installed.
    return any(base.__module__.startswith("torch.") for base in type(model).__mro__)
