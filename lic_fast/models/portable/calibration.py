"""What calibration pictures tell of a model's entropy path: ranges, and quantizers from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from compressai.layers import GDN
from torch import Tensor, nn

from lic_fast.entropy.integer.observed import Observed
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.latents import rounder
from lic_fast.models.portable.maps import ENTROPY_PATH, Layer, layers_of, quantizers
from lic_fast.models.portable.statistics import Code, observe
from lic_fast.models.tcm import WMSA
from lic_fast.ops.integer_layer import Quantizer

__all__ = [
    "Calibration",
    "Progress",
    "attentions",
    "calibrate",
    "coder",
    "latents_of",
    "one_anchor_each",
]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


class Calibration(NamedTuple):
    """What was seen, and what follows from it.

    Attributes:
        seen: Statistics of the input of each layer and norm, and of the queries, keys and
            values of each attention, by name.
        layers: Convolutions and linear maps, by name.
        inputs: The quantizer of each layer's input.
    """

    seen: dict[str, Observed]
    layers: dict[str, Layer]
    inputs: dict[str, Quantizer]


def calibrate(model: SliceCompressionModel, code: Code, bits: int) -> Calibration:
    """Watches the entropy path while it codes the calibration pictures.

    Args:
        model: In floating point and evaluation mode.
        code: Codes them, by this model.
        bits: Of activations in the mean and scale networks, 14 or 7.
    """
    path = {n: m for n, m in model.named_modules() if n.startswith(ENTROPY_PATH)}
    kinds = (nn.Conv2d, nn.Linear, nn.LayerNorm, GDN)
    seen = observe(
        code,
        {n: m for n, m in path.items() if isinstance(m, kinds)},
        {n: m.embedding_layer for n, m in attentions(model).items()},
    )
    maps, layers = layers_of(model, seen, bits)
    return Calibration(seen, layers, quantizers(maps, layers))


def attentions(model: SliceCompressionModel) -> dict[str, WMSA]:
    """The window attention of a TCM's entropy path, by the names of what takes its place."""
    return {
        f"{name}.attention": module
        for name, module in model.named_modules()
        if name.startswith(ENTROPY_PATH) and isinstance(module, WMSA)
    }


def coder(
    model: SliceCompressionModel, latents: list[tuple[Tensor, Tensor]], told: Progress
) -> Callable[..., Code]:
    """Makes what codes these latents from :func:`latents_of`, named for whom it tells."""

    def code(what: str, pass_: int = 0, passes: int = 1) -> Code:
        def run() -> None:
            for i, (y, z_hat) in enumerate(latents):
                model._latents(z_hat, rounder(y))
                told(what, pass_ * len(latents) + i + 1, passes * len(latents))

        return run

    return code


@torch.no_grad()
def latents_of(
    model: SliceCompressionModel, images: Sequence[Tensor], told: Progress
) -> list[tuple[Tensor, Tensor]]:
    """Y and z_hat of each picture, at each anchor of the qualities, by a model in evaluation mode.

    Raises:
        ValueError: There are none, or one has another form.
    """
    if not images:
        raise ValueError("there are no calibration pictures")
    latents = []
    medians = model._medians()
    for i, image in enumerate(images):
        for x in _batched(image).to(medians.device).split(1):
            unscaled = model._network(model, _whole(x, model.multiple), "analysis")
            # The ranges of all anchors: a portable model codes at any quality.
            for quality in model.anchor_qualities or (None,):
                y = model._scaled(unscaled, None if quality is None else [quality])
                z_hat = (model._network(model.h_a, y) - medians).round() + medians
                latents.append((y.contiguous(), z_hat.contiguous()))
        told("latents", i + 1, len(images))
    return latents


def one_anchor_each(
    latents: Sequence[tuple[Tensor, Tensor]], anchors: int
) -> list[tuple[Tensor, Tensor]]:
    """Of the latents of each picture those at one anchor, at each anchor of equally many pictures.

    Ranges are of all latents, for which one look at each will do. Covariances, which take most of
    a conversion's time, are means, to which the anchors of one picture add little.

    Args:
        latents: From :func:`latents_of`.
        anchors: Of the model's qualities; 0 for a model of one rate.

    Returns:
        All of them if there are fewer pictures than anchors.
    """
    if anchors == 0 or len(latents) < anchors**2:
        return list(latents)
    return [pair for i, pair in enumerate(latents) if i % anchors == i // anchors % anchors]


def _batched(image: Tensor) -> Tensor:
    x = image[None] if image.dim() == 3 else image
    if x.dim() != 4 or x.shape[1] != 3 or 0 in x.shape or not x.is_floating_point():
        raise ValueError(
            "a calibration picture must be (3, H, W) or (B, 3, H, W) and floating point, not "
            f"{tuple(image.shape)} and {image.dtype}"
        )
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError("a calibration picture must be in [0, 1]")
    return x.detach().float()


def _whole(x: Tensor, multiple: int) -> Tensor:
    """Cut to multiples of the sides that the model takes, or filled up to one."""
    height, width = (side // multiple * multiple or side for side in x.shape[2:])
    rows, columns = -height % multiple, -width % multiple
    return F.pad(x[:, :, :height, :width], (0, columns, 0, rows), mode="replicate")
