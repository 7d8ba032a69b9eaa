"""The slices of a portable model as programs.

A network, with the attention before it where there is one, is recorded
(:mod:`lic_fast.entropy.integer.recorded`); :class:`lic_fast.runtime.entropy_path.PackedSlices`
runs the programs of all networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lic_fast.entropy.integer.activation import ExactGELU
from lic_fast.entropy.integer.chain import layer_of
from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.entropy.integer.program import Output, program_of
from lic_fast.entropy.integer.recorded import Recorded, UnrecordableError
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.held import held
from lic_fast.ops.integer_program import arrays_of
from lic_fast.ops.plain import plain_network
from lic_fast.ops.threads import threads
from lic_fast.runtime.entropy_path import Floats, Network, PackedSlices, Slices, part_of
from lic_fast.runtime.integer import Layer, Quantizer

if TYPE_CHECKING:
    from lic_fast.entropy.slices import SliceNetworks

__all__ = [
    "Quantize",
    "by_arrays",
    "integer_slices",
    "map_of",
    "maps_of",
    "networks_of",
    "slices_of",
]

Quantize = Callable[[slice, Tensor, Tensor], Tensor]
"""As :data:`lic_fast.entropy.slices.Quantizer`."""


def integer_slices(networks: SliceNetworks, latents: Tensor) -> PackedSlices | None:
    """The networks as programs, if the fast path may run and they are such as it knows.

    Made once for as long as nothing in the networks changes.
    """
    if not networks.exact or not exact_on_cpu(latents) or latents.dtype != torch.float32:
        return None
    roots, form = networks_of(networks)

    def build() -> PackedSlices | None:
        try:
            return PackedSlices(slices_of(networks))
        except (UnrecordableError, ValueError):
            return None

    return held(("integer slices", form), roots, build)


def run_integer_slices(
    slices: PackedSlices, latent_means: Tensor, latent_scales: Tensor, quantize: Quantize
) -> tuple[Tensor, Tensor, Tensor]:
    """Decoded latents, means and scales, as :mod:`lic_fast.entropy.slices` has them."""
    shares = [x.detach().permute(0, 2, 3, 1).numpy() for x in (latent_means, latent_scales)]
    return maps_of(slices.run(shares, by_arrays(quantize), threads(), means=True))


def by_arrays(quantize: Quantize) -> Callable[[slice, Floats, Floats], Floats]:
    """A quantizer of maps (B, C, H, W) as one of arrays (B, H, W, C)."""

    def call(channels: slice, means: Floats, scales: Floats) -> Floats:
        quantized = quantize(channels, map_of(means), map_of(scales))
        found: Floats = quantized.detach().permute(0, 2, 3, 1).numpy()
        return found

    return call


def map_of(array: Floats) -> Tensor:
    """(B, H, W, C) as a map (B, C, H, W) in the same memory."""
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def maps_of(arrays: Sequence[Floats | None]) -> tuple[Tensor, Tensor, Tensor]:
    """Decoded latents, means and scales as maps."""
    y_hat, means, scales = (map_of(array) for array in arrays if array is not None)
    return y_hat, means, scales


def networks_of(networks: SliceNetworks) -> tuple[list[Any], tuple[Any, ...]]:
    """All networks of the slices, and what tells how they are to be read."""
    attention = networks.mean_attention, networks.scale_attention
    roots = [*networks.mean, *networks.scale, *networks.lrp]
    roots += [*(attention[0] or ()), *(attention[1] or ())]
    form = (networks.max_support_slices, attention[0] is None, attention[1] is None)
    return roots, form


def slices_of(networks: SliceNetworks) -> Slices:
    """The networks in arrays.

    Raises:
        UnrecordableError: A network does what no program does, or is watched.
    """
    roots, _ = networks_of(networks)
    every: list[Any] = [*networks.mean, *networks.scale, *networks.lrp]
    if not all(_is_chain(network) for network in every) or not plain_network(*roots):
        raise UnrecordableError("a network is no chain of integer layers, or is watched")
    lrp = [_convolutions(network) for network in networks.lrp]
    width = len(lrp[0][-1].bias)
    mean, scale, own, attended = [], [], [], []
    for i, convolutions in enumerate(lrp):
        quantizer = convolutions[0].quantizer
        channels = len(quantizer.zero) - width
        if channels < 1:
            raise UnrecordableError("a residual network reads nothing but the slice")
        own.append(part_of(quantizer, channels, channels + width))
        read = part_of(quantizer, 0, channels)
        network, gives_attended = _recorded(networks.mean[i], networks.mean_attention, i, read)
        if not gives_attended and not _same(network.quantizer, read):
            raise UnrecordableError("a residual network reads the support in a way of its own")
        mean.append(network)
        scale.append(_recorded(networks.scale[i], networks.scale_attention, i, None)[0])
        attended.append(channels if gives_attended else 0)
    limit = networks.steps()[-1][0]
    slices = Slices(mean, scale, [_layers(one) for one in lrp], own, attended, limit)
    found: Slices = arrays_of(slices)
    return found


def _is_chain(network: Any) -> bool:
    """Whether the network is integer convolutions with GELU between."""
    if not isinstance(network, nn.Sequential) or len(network) % 2 == 0:
        return False
    kinds = (IntegerConv2d, ExactGELU)
    return all(type(layer) is kinds[i % 2] for i, layer in enumerate(network))


def _recorded(network: Any, attention: Any, i: int, read: Quantizer | None) -> tuple[Network, bool]:
    """The program of a network, and whether it gives the map before it for LRP too."""
    # An attention has as many channels behind it as before it.
    given = Recorded.input(len(_convolutions(network)[0].zero))
    attended = given if attention is None else attention[i](given)
    outputs: list[Output] = [(network(attended), None)]
    if attention is None:
        return program_of(given, outputs), False
    if read is not None:
        outputs.insert(0, (attended, read))
    return program_of(given, outputs), read is not None


def _convolutions(network: Any) -> list[IntegerConv2d]:
    return list(network)[::2]


def _layers(convolutions: list[IntegerConv2d]) -> list[Layer]:
    following = [*(conv.quantizer for conv in convolutions[1:]), None]
    return [
        layer_of(conv, "none" if output is None else "gelu", output)
        for conv, output in zip(convolutions, following, strict=True)
    ]


def _same(one: Quantizer, other: Quantizer) -> bool:
    return (
        one.bits == other.bits
        and torch.equal(one.inverse_step, other.inverse_step)
        and torch.equal(one.zero, other.zero)
    )
