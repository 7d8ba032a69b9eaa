"""Torch models as the codec's coders of pictures; imported when one is handed in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lic_fast.codec.coder import Padding
from lic_fast.models import SliceCompressionModel
from lic_fast.stream_layout import StreamLayout
from lic_fast.streams import LatentStreams

__all__ = ["TorchCoder"]


class TorchCoder:
    """A :class:`~lic_fast.codec.coder.PictureCoder` that runs a torch model on its device.

    Args:
        model: In evaluation mode, with its tables made.

    Raises:
        ValueError: The model is in training mode.
    """

    def __init__(self, model: SliceCompressionModel) -> None:
        if model.training:
            raise ValueError("the model is in training mode: call eval() before coding with it")
        self._model = model

    @property
    def portable(self) -> bool:
        """The model's, as all that follow."""
        return self._model.portable

    @property
    def architecture(self) -> str:
        """Name of the model's class."""
        return self._model.architecture

    @property
    def multiple(self) -> int:
        """Of which the sides of a padded picture are multiples."""
        return self._model.multiple

    @property
    def z_downsampling(self) -> int:
        """Pixels per element of z along each side."""
        return self._model.z_downsampling

    @property
    def anchor_qualities(self) -> list[float]:
        """The qualities at which gains were trained; empty in a model of one rate."""
        return self._model.anchor_qualities

    def fingerprint(self) -> bytes:
        """See :meth:`~lic_fast.models.SliceCompressionModel.fingerprint`."""
        return self._model.fingerprint()

    @torch.inference_mode()
    def encode(
        self, pixels: np.ndarray, padding: Padding, *, quality: float | None, layout: StreamLayout
    ) -> LatentStreams:
        """See :meth:`~lic_fast.codec.coder.PictureCoder.encode`."""
        return self._model.encode(self._batch(pixels, padding), quality=quality, layout=layout)

    @torch.inference_mode()
    def decode(self, streams: LatentStreams, padding: Padding) -> np.ndarray:
        """See :meth:`~lic_fast.codec.coder.PictureCoder.decode`."""
        return _pixels(self._model.decode(streams), padding)

    @torch.inference_mode()
    def analyse(self, pixels: np.ndarray, padding: Padding) -> Tensor:
        """The latents, (1, M, H/16, W/16), on the model's device."""
        return self._model.analyse(self._batch(pixels, padding))

    @torch.inference_mode()
    def encode_latents(
        self, latents: Tensor, *, quality: float | None, layout: StreamLayout
    ) -> tuple[LatentStreams, Tensor]:
        """See :meth:`~lic_fast.models.SliceCompressionModel.encode_latents`."""
        return self._model.encode_latents(latents, quality=quality, layout=layout)

    @torch.inference_mode()
    def reconstruct(self, y_hat: Tensor, padding: Padding, *, quality: float | None) -> np.ndarray:
        """See :meth:`~lic_fast.codec.coder.PictureCoder.reconstruct`."""
        return _pixels(self._model.reconstruct(y_hat, quality=quality), padding)

    def _batch(self, pixels: np.ndarray, padding: Padding) -> Tensor:
        """The padded picture as models take it: (1, 3, H, W) in [0, 1], of the parameters' type."""
        left, top, right, bottom = padding
        padded = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="edge")
        parameter = next(self._model.parameters())
        x = torch.from_numpy(padded).to(parameter.device).permute(2, 0, 1)[None]
        return x.to(parameter.dtype).div(255).contiguous()


def _pixels(x_hat: Tensor, padding: Padding) -> np.ndarray:
    """The picture in a decoded image, (1, 3, H, W), without its padding."""
    left, top, right, bottom = padding
    height, width = x_hat.shape[2:]
    window = x_hat[0, :, top : height - bottom, left : width - right]
    pixels = (window * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    return pixels.contiguous().cpu().numpy()
