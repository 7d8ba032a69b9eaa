"""The maps of an entropy path that are quantised, and the layers that read them.

A map is quantised once, whoever reads it: a slice's latents are read by the
networks of all later slices. Layers that read several maps side by side read the
activations of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lic_fast.entropy.integer.observed import Observed
from lic_fast.entropy.integer.quantizer import quantizer_of
from lic_fast.models.base import SliceCompressionModel
from lic_fast.ops.integer_layer import Quantizer

__all__ = ["ENTROPY_PATH", "Layer", "Map", "Maps", "layers_of", "quantizers"]

ENTROPY_PATH = (
    "h_mean_s",
    "h_scale_s",
    "atten_mean",
    "atten_scale",
    "cc_mean_transforms",
    "cc_scale_transforms",
    "lrp_transforms",
)
"""The parts of a model that become integer networks."""

# Rates rise by 0.4 % with 7 bits in the scale networks, by 0.8 % in the mean networks.
_TWO_HALVES = ("atten_mean", "atten_scale", "cc_mean_transforms", "cc_scale_transforms")

# Bits that the ranges of some maps take, as narrow as csrc/integer/winograd.hpp wants them.
_NARROW = 9
# Maps whose ranges take all bits.
_ALL_BITS: tuple[str, ...] = ("slice",)

# Steps are this part of those at which activations and weights add equal errors.
_SHARE = 0.25
_ROUNDS = 10


@dataclass
class Layer:
    """A convolution or linear map.

    Attributes:
        module: In floating point.
        reads: Names of the maps that its input consists of, side by side.
        halves: Halves of their activations that it reads.
        careful: Whether its weights are worth being rounded by covariances.
    """

    module: Any
    reads: list[str]
    halves: int
    careful: bool


@dataclass
class Map:
    """What is quantised once.

    Attributes:
        seen: Its statistics.
        bits: Of its activations, 14 or 7.
        used: Bits that its range takes, if not all of them.
    """

    seen: Observed
    bits: int
    used: int | None = None


Maps = dict[str, Map]
"""By name."""


def layers_of(
    model: SliceCompressionModel, seen: dict[str, Observed], bits: int = 14
) -> tuple[Maps, dict[str, Layer]]:
    """The maps and the layers of a model's entropy path.

    Args:
        model: In floating point.
        seen: The input of each layer, by the layer's name.
        bits: Of activations in the mean and scale networks, 14 or 7.
    """
    maps, first = _support(model, seen)
    layers = {}
    for name, module in model.named_modules():
        if not name.startswith(ENTROPY_PATH) or not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        halves = 2 if bits == 14 and name.startswith(_TWO_HALVES) else 1
        if name not in first:
            maps[name] = Map(seen[name], 14 if halves == 2 else 7)
        layers[name] = Layer(module, first.get(name, [name]), halves, halves == 2)
    _narrow(maps, layers)
    return maps, layers


def _narrow(maps: Maps, layers: dict[str, Layer]) -> None:
    """Has maps that only convolutions of 3x3 read use 9 of 14 bits.

    These need little more than half of the products then (``csrc/integer/winograd.hpp``). Decoded
    slices, most of whose numbers are small beside the largest, keep all bits.
    """
    for name, map_ in maps.items():
        readers = [layer for layer in layers.values() if name in layer.reads]
        if (
            map_.bits == 14
            and not name.startswith(_ALL_BITS)
            and any(layer.halves == 2 for layer in readers)
            and all(layer.module.weight.shape[2:] == (3, 3) for layer in readers)
        ):
            map_.used = _NARROW
            for layer in readers:
                layer.halves = 2


def _support(
    model: SliceCompressionModel, seen: dict[str, Observed]
) -> tuple[Maps, dict[str, list[str]]]:
    """The maps that slices share, and those that each slice's first layers read."""
    networks = model.slice_networks()
    slices = len(networks.mean)
    last: Any = networks.lrp[0]
    width = last[-1].out_channels
    limit = networks.steps()[-1][0]
    attention = networks.mean_attention is not None
    entry = {
        "mean": "atten_mean.{}.0.in_conv" if attention else "cc_mean_transforms.{}.0",
        "scale": "atten_scale.{}.0.in_conv" if attention else "cc_scale_transforms.{}.0",
    }
    maps: Maps = {f"latent {kind}s": Map(seen[entry[kind].format(0)], 14) for kind in entry}
    reads: dict[str, list[str]] = {}
    for i in range(slices):
        lrp = seen[f"lrp_transforms.{i}.0"]
        own = lrp[len(lrp.low) - width :]
        if i < limit:
            support = seen[entry["mean"].format(slices - 1)]
            start = len(support.low) - (limit - i) * width
            own = own + support[start : start + width]
        maps[f"slice {i}"] = Map(own, 14)
        decoded = [f"slice {j}" for j in range(min(i, limit))]
        for kind, name in entry.items():
            reads[name.format(i)] = [f"latent {kind}s", *decoded]
        support_of_lrp = reads[entry["mean"].format(i)]
        if attention:
            attended = f"attended {i}"
            maps[attended] = Map(seen[f"cc_mean_transforms.{i}.0"], 14)
            reads[f"cc_mean_transforms.{i}.0"] = support_of_lrp = [attended]
        reads[f"lrp_transforms.{i}.0"] = [*support_of_lrp, f"slice {i}"]
    return maps, reads


@torch.no_grad()
def quantizers(maps: Maps, layers: dict[str, Layer]) -> dict[str, Quantizer]:
    """A quantizer for each layer's input, equal for what is the same map.

    A channel's step is the larger one of two: that at which the activations
    reach over the channel's range, and :data:`_SHARE` of that at which two errors of
    the layers that read it are equal. A step d adds :math:`d^2 / 12` times its
    weights' squares; but weights times d are what is rounded, so that a small d
    leaves little of a channel's weights beside those of a channel of wide range.
    The idea is that of Xiao et al., "SmoothQuant", ICML 2023, section 4.
    """
    ranges = {name: quantizer_of(m.seen, m.bits, m.used) for name, m in maps.items()}
    least = {name: 1 / quantizer.inverse_step.double() for name, quantizer in ranges.items()}
    steps = dict(least)
    for _ in range(_ROUNDS):
        of_activations = {name: torch.zeros_like(step) for name, step in steps.items()}
        of_weights = {name: torch.zeros_like(step) for name, step in steps.items()}
        for layer in layers.values():
            errors = _errors(layer, maps, steps)
            start = 0
            for name in layer.reads:
                part = slice(start, start + len(steps[name]))
                start = part.stop
                of_activations[name] += errors[0][part]
                of_weights[name] += errors[1][part]
        for name, step in steps.items():
            equal = (of_weights[name] / of_activations[name].clamp(min=1e-30)) ** 0.25
            # The mean of old and new, since the weights' error depends on all steps.
            steps[name] = torch.maximum((_SHARE * equal * step).sqrt(), least[name])
    found = {
        name: Quantizer((1 / step).float(), ranges[name].zero, ranges[name].bits)
        for name, step in steps.items()
    }
    return {name: _joined([found[part] for part in layer.reads]) for name, layer in layers.items()}


def _errors(layer: Layer, maps: Maps, steps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Factors of step^2 and of step^-2 in a layer's error, for each input channel."""
    weight = layer.module.weight.detach().double()
    weight = weight.view(len(weight), weight.shape[1], -1)
    step = torch.cat([steps[name] for name in layer.reads])
    square = torch.cat([maps[name].seen.square for name in layer.reads])
    # One half of two is read with a step 128 times as large.
    coarse = 128.0 if layer.halves == 1 and maps[layer.reads[0]].bits == 14 else 1.0
    unit = (weight * step[:, None] * coarse).abs().amax((1, 2)) / 127
    # Errors count beside what the output channel holds.
    importance = 1 / (weight.square().sum(2) @ square).clamp(min=1e-30)
    of_activations = (weight.square().sum(2) * importance[:, None]).sum(0) * coarse**2
    of_weights = (unit.square() * importance).sum() * weight.shape[2] * square / coarse**2
    return of_activations, of_weights


def _joined(parts: list[Quantizer]) -> Quantizer:
    return Quantizer(
        torch.cat([part.inverse_step for part in parts]),
        torch.cat([part.zero for part in parts]),
        parts[0].bits,
    )
