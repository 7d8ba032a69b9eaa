"""Gains: one set of weights for every rate.

The latents are multiplied channel by channel before they are rounded, and the decoded ones by an
inverse gain: a larger gain is a finer quantisation. Gains are trained at a few anchors and
interpolated between them (Cui et al., "Asymmetric Gained Deep Image Compression With Continuous
Rate Adaptation", CVPR 2021, equations 2 to 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lic_fast.ops.dispatch import untraced
from lic_fast.ops.stamp import ORDINARY
from lic_fast.runtime import gains as numeric
from lic_fast.runtime.gains import BEST, DEFAULT, WORST, anchor_qualities, check_quality

__all__ = [
    "BEST",
    "DEFAULT",
    "WORST",
    "ModelWithGains",
    "Quality",
    "anchor_qualities",
    "check_quality",
    "first_gains",
    "gain_arguments",
    "interpolated",
]

Quality = float | Sequence[float] | np.ndarray | Tensor
"""One number for a whole batch, or one for each image, from :data:`WORST` to :data:`BEST`."""


def first_gains(anchors: int, channels: int) -> Tensor:
    """Gains to begin a training with, (anchors, channels): each 2^(1/2) times the one before.

    The mean squared error of a fine uniform quantiser grows with the square of its step, so that
    an anchor whose lambda is twice another's wants steps smaller by the square root of 2.

    Args:
        anchors: How many there are, at least 2.
        channels: Of the latents.

    Raises:
        ValueError: There are too few anchors.
    """
    if anchors < 2:
        raise ValueError(f"a model has no gains (qualities = 0) or at least 2, not {anchors}")
    exponents = torch.arange(anchors) - (anchors - 1) / 2
    return (2 ** (exponents / 2))[:, None].repeat(1, channels)


def gain_arguments(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
    """The constructors' ``qualities``, from a state dict.

    Raises:
        IndexError: The gains have no dimension.
    """
    return {"qualities": state_dict["y_gain"].shape[0] if "y_gain" in state_dict else 0}


def interpolated(gains: Tensor, quality: Sequence[float]) -> Tensor:
    """The gains of each image, (B, M, 1, 1), interpolated exponentially between anchors.

    Args:
        gains: (anchors, M), those of the anchors.
        quality: Of each image.
    """
    if gains.device.type == "cpu" and type(gains) in ORDINARY and untraced(gains):
        # As a model without PyTorch interpolates them, so that both write the same streams.
        found = numeric.interpolated(gains.detach().float().numpy(), quality)
        return torch.from_numpy(found).to(gains.dtype)[:, :, None, None]
    lower, parts = numeric.places(quality, len(gains))
    logarithms = gains.clamp_min(numeric.LEAST_GAIN).log()
    index = torch.tensor(lower, device=gains.device)
    part = torch.tensor(parts, device=gains.device, dtype=gains.dtype)[:, None]
    between = torch.lerp(logarithms[index], logarithms[index + 1], part)
    return between.exp()[:, :, None, None]


class ModelWithGains:
    """What a model of many rates does with its gains, and a model of one rate instead.

    Attributes:
        y_gain: (qualities, M), by which the latents are multiplied before they are rounded, for
            each anchor of the qualities; None in a model of one rate.
        y_inv_gain: (qualities, M), by which the decoded latents are multiplied, likewise.
    """

    y_gain: nn.Parameter | None
    y_inv_gain: nn.Parameter | None

    def _make_gains(self, qualities: int, channels: int) -> None:
        """Gives the model gains, if it is to have any; for constructors."""
        first = first_gains(qualities, channels) if qualities else None
        self.y_gain = None if first is None else nn.Parameter(first)
        self.y_inv_gain = None if first is None else nn.Parameter(1 / first)

    @property
    def anchor_qualities(self) -> list[float]:
        """The qualities at which gains are trained, ascending; empty in a model of one rate."""
        return [] if self.y_gain is None else anchor_qualities(len(self.y_gain))

    def _qualities(
        self, quality: Quality | None, images: int, default: float | None = DEFAULT
    ) -> list[float] | None:
        """The quality of each image; None in a model of one rate.

        Raises:
            ValueError: The model is of one rate and a quality is given, or it is of many and none
                is given where there is no default; or a quality is not one.
        """
        if self.y_gain is None:
            if quality is not None:
                raise ValueError(numeric.NO_GAINS)
            return None
        if quality is None:
            if default is None:
                raise ValueError(numeric.NO_QUALITY)
            quality = default
        return check_quality(quality, images)

    def _scaled(self, y: Tensor, quality: list[float] | None) -> Tensor:
        """Latents as the entropy path sees them."""
        if quality is None or self.y_gain is None:
            return y
        return y * interpolated(self.y_gain, quality).to(y.dtype)

    def _unscaled(self, y_hat: Tensor, quality: list[float] | None) -> Tensor:
        """Decoded latents as the synthesis reads them."""
        if quality is None or self.y_inv_gain is None:
            return y_hat
        return y_hat * interpolated(self.y_inv_gain, quality).to(y_hat.dtype)
