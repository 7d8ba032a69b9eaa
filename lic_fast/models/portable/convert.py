"""From a trained model in floating point to a portable one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.latents import rounder
from lic_fast.models.modules import GDN
from lic_fast.models.portable.maps import ENTROPY_PATH, layers_of, quantizers
from lic_fast.models.portable.statistics import covariances, observe, passes
from lic_fast.models.portable.twins import become_portable, twin
from lic_fast.models.tcm import WMSA

__all__ = ["make_portable"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@torch.no_grad()
def make_portable(
    model: SliceCompressionModel,
    calibration_images: Iterable[Tensor],
    *,
    progress: Progress | None = None,
) -> SliceCompressionModel:
    """A copy of a trained model whose streams decode on every machine.

    Its entropy path (hyper-synthesis, slice networks with their attention, latent
    residual prediction) becomes a function of integers: weights of 8 bits with a
    scale for each channel, activations of 14 bits in the mean and scale networks and
    of 7 elsewhere, sums of 32 bits, and between them single IEEE operations. The
    transforms stay as they are. ``docs/portable.md`` has the arithmetic. No
    training takes place; ranges and covariances come from the calibration pictures.

    Args:
        model: With its CDF tables made. It is not changed.
        calibration_images: (3, H, W) or (B, 3, H, W) each, in [0, 1], of any size:
            some dozens of photographs of 256 x 256 pixels and more, like those that will be
            coded.
        progress: Told of every picture and every layer.

    Returns:
        A model of the same class, on the CPU, in evaluation mode.

    Raises:
        ValueError: The model is portable already or has no tables, there are no
            pictures, or one has another form.
    """
    if model.portable:
        raise ValueError("the model is portable already")
    model.cdf_tables()
    told = progress or (lambda what, done, total: None)
    source = copy.deepcopy(model).cpu().float().eval()
    latents = _latents_of(source, list(calibration_images), told)

    def code(what: str, pass_: int = 0, passes: int = 1) -> Callable[[], None]:
        def run() -> None:
            for i, (y, z_hat) in enumerate(latents):
                source._latents(z_hat, rounder(y))
                told(what, pass_ * len(latents) + i + 1, passes * len(latents))

        return run

    path = {n: m for n, m in source.named_modules() if n.startswith(ENTROPY_PATH)}
    kinds = (nn.Conv2d, nn.Linear, nn.LayerNorm, GDN)
    attention = {f"{n}.attention": m for n, m in path.items() if isinstance(m, WMSA)}
    seen = observe(
        code("ranges"),
        {n: m for n, m in path.items() if isinstance(m, kinds)},
        {n: m.embedding_layer for n, m in attention.items()},
    )
    maps, layers = layers_of(source, seen)
    inputs = quantizers(maps, layers)
    # What rounding with covariances is worth: benchmarks/results/portable.md. In layers that read
    # 7 bits it is worth nothing, and it takes most of the time.
    careful = {name: layer.module for name, layer in layers.items() if layer.halves == 2}
    groups = passes(careful)
    found: dict[str, Tensor] = {}
    filled: dict[str, IntegerConv2d] = {}

    def fill(name: str) -> None:
        layer, exact = layers[name], _empty(layers[name].module)
        exact.fill(
            layer.module.weight,
            layer.module.bias,
            inputs[name],
            layer.halves,
            seen[name].mean,
            found.pop(name, None),
        )
        filled[name] = exact
        told("weights", len(filled), len(layers))

    for name in layers:
        if name not in careful:
            fill(name)
    for i, group in enumerate(groups):
        found.update(covariances(code("covariances", i, len(groups)), group))
        for name in group:
            fill(name)

    tables = {
        name: module.relative_position_params.flatten(1).T for name, module in attention.items()
    }
    for name, module in become_portable(source).items():
        exact: Any = source.get_submodule(name)
        if name in filled:
            exact.load_state_dict(filled[name].state_dict())
        elif name in tables:
            exact.fill(tables[name], seen[name])
        elif isinstance(module, (nn.LayerNorm, GDN)):
            exact.fill(module, seen[name])
    return source


def _empty(module: nn.Module) -> IntegerConv2d:
    exact = twin(module)
    assert isinstance(exact, IntegerConv2d)
    return exact


def _latents_of(
    model: SliceCompressionModel, images: list[Tensor], told: Progress
) -> list[tuple[Tensor, Tensor]]:
    """Y and z_hat of the pictures."""
    if not images:
        raise ValueError("there are no calibration pictures")
    latents = []
    medians = model._medians()
    for i, image in enumerate(images):
        for x in _batched(image).split(1):
            y = model._transformed(model.analysis, _whole(x, model.multiple))
            z_hat = (model.h_a(y) - medians).round() + medians
            latents.append((y.contiguous(), z_hat.contiguous()))
        told("latents", i + 1, len(images))
    return latents


def _batched(image: Tensor) -> Tensor:
    x = image[None] if image.dim() == 3 else image
    if x.dim() != 4 or x.shape[1] != 3 or 0 in x.shape or not x.is_floating_point():
        raise ValueError(
            "a calibration picture must be (3, H, W) or (B, 3, H, W) and floating point, not "
            f"{tuple(image.shape)} and {image.dtype}"
        )
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError("a calibration picture must be in [0, 1]")
    return x.detach().cpu().float()


def _whole(x: Tensor, multiple: int) -> Tensor:
    """Cut to multiples of the sides that the model takes, or filled up to one."""
    height, width = (side // multiple * multiple or side for side in x.shape[2:])
    rows, columns = -height % multiple, -width % multiple
    return F.pad(x[:, :, :height, :width], (0, columns, 0, rows), mode="replicate")
