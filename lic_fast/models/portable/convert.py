"""From a trained model in floating point to a portable one."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from compressai.layers import GDN
from torch import Tensor, nn

from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.portable.calibration import (
    Progress,
    attentions,
    calibrate,
    coder,
    latents_of,
    one_anchor_each,
)
from lic_fast.models.portable.maps import ENTROPY_PATH
from lic_fast.models.portable.statistics import covariances, passes
from lic_fast.models.portable.twins import become_portable, twin

__all__ = ["make_portable"]


@torch.no_grad()
def make_portable(
    model: SliceCompressionModel,
    calibration_images: Iterable[Tensor],
    *,
    bits: int = 14,
    float16: bool = False,
    progress: Progress | None = None,
) -> SliceCompressionModel:
    """A copy of a trained model whose streams decode on every machine.

    Its entropy path (hyper-synthesis, slice networks with their attention, latent
    residual prediction) becomes a function of integers: weights of 8 bits with a
    scale for each channel, activations of 14 bits in the mean and scale networks and
    of 7 in most others, sums of 32 bits, and between them single IEEE operations. The
    transforms stay as they are. ``docs/portable.md`` has the arithmetic. No
    training takes place; ranges and covariances come from the calibration pictures.

    Args:
        model: With its CDF tables made. It is not changed.
        calibration_images: (3, H, W) or (B, 3, H, W) each, in [0, 1], of any size:
            some dozens of photographs of 256 x 256 pixels and more, like those that will be
            coded.
        bits: Of activations in the mean and scale networks: 14, or 7, with which the entropy path
            takes less time and streams are longer, less so if the model was trained for it
            (``[quantization]`` of a recipe): ``benchmarks/results/quantization.md``.
        float16: Whether to round the transforms' weights to float16, in which a file holds them
            in half the bytes. They compute in any type all the same.
        progress: Told of every picture and every layer.

    Returns:
        A model of the same class, on the CPU, in evaluation mode.

    Raises:
        ValueError: The model is portable already or has no tables, there are no
            pictures, one has another form, the bits are others, or a weight is
            beyond the range of float16.
    """
    if model.portable:
        raise ValueError("the model is portable already")
    if bits not in (7, 14):
        raise ValueError(f"activations have 7 or 14 bits, not {bits}")
    model.cdf_tables()
    source = copy.deepcopy(model).cpu().float().eval()
    if float16:
        _round_transforms(source)
    told = progress or (lambda what, done, total: None)
    latents = latents_of(source, list(calibration_images), told)
    code = coder(source, latents, told)
    code_few = coder(source, one_anchor_each(latents, len(source.anchor_qualities)), told)
    seen, layers, inputs = calibrate(source, code("ranges"), bits)
    # What rounding with covariances is worth: benchmarks/results/portable.md. In layers for which 7
    # bits suffice it is worth nothing, and it takes most of the time.
    careful = {name: layer.module for name, layer in layers.items() if layer.careful}
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
        found.update(covariances(code_few("covariances", i, len(groups)), group))
        for name in group:
            fill(name)

    tables = {
        name: module.relative_position_params.flatten(1).T
        for name, module in attentions(source).items()
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


def _round_transforms(model: SliceCompressionModel) -> None:
    for name, weight in model.named_parameters():
        if name.startswith((*ENTROPY_PATH, "entropy_bottleneck")):
            continue
        rounded = weight.half()
        if not bool(rounded.isfinite().all()):
            raise ValueError(f"{name} is beyond the range of float16: leave the weights in float32")
        weight.copy_(rounded)


def _empty(module: nn.Module) -> IntegerConv2d:
    exact = twin(module)
    assert isinstance(exact, IntegerConv2d)
    return exact
