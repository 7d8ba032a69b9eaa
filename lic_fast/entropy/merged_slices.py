"""The networks of a step of slices, merged into a few large convolutions.

For a step of k slices with widths :math:`c_1, c_2, ...` inside the networks,

- the first layers of the k mean networks read the same input, and so do those
  of the scale networks: one convolution each, to k c_1 channels;
- the first layers of the LRP networks are linear in [support, quantised
  slice]: the support's share is one convolution to k c_1 channels, and the
  slices' own shares are one convolution in k groups, added to it;
- every further layer of the mean and scale networks is one convolution in 2k
  groups, of the LRP networks one in k groups.

A step is 2 + 4 + 2 + 4 convolutions for networks of five layers, whatever k is,
where the definition takes 15 k. The hyperprior's share of all steps is not
computed ahead: that would save no arithmetic, only depth, and on a CPU the
accumulators of all slices, 50 MB for STF at 768 x 512, cost more to move than
the depth costs to wait for. On a GPU, where depth is what costs,
:mod:`lic_fast.entropy.hoisted_slices` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lic_fast.ops import add_residual, onednn, winograd
from lic_fast.ops.copies import stacked
from lic_fast.ops.dispatch import fast_on_cpu, untrained
from lic_fast.ops.plain import known, unwatched
from lic_fast.ops.prepared import prepared

if TYPE_CHECKING:
    from lic_fast.entropy.slices import SliceNetworks

__all__ = ["MergedStep", "alike", "convolutions", "may_merge", "merged_step"]

_Layers = list[nn.Conv2d]
_Convolution = winograd.Convolution | onednn.Convolution


def may_merge(networks: SliceNetworks, latents: Tensor) -> bool:
    """Whether the networks are 3x3 convolutions with GELU between, and the fast path may run."""
    if networks.mean_attention is not None or networks.scale_attention is not None:
        return False
    every = [*networks.mean, *networks.scale, *networks.lrp]
    if not fast_on_cpu(latents) or not untrained(*every):
        return False
    return alike(every)


def alike(networks: Sequence[nn.Module]) -> bool:
    """Whether they are plain and unwatched slice networks, of one depth."""
    depths = {_depth(network) for network in networks}
    return len(depths) == 1 and None not in depths


def _depth(network: nn.Module) -> int | None:
    """Number of convolutions, None if the network is anything else than slice networks are."""
    if not isinstance(network, nn.Sequential) or not known(type(network)):
        return None
    if not unwatched(network) or len(network) < 3 or len(network) % 2 == 0:
        return None
    for i, layer in enumerate(network):
        if not unwatched(layer):
            return None
        if i % 2:
            if type(layer) is not nn.GELU or layer.approximate != "none":
                return None
        elif not _is_convolution(layer) or _form(layer) != _USUAL:
            return None
    return (len(network) + 1) // 2


def _is_convolution(layer: nn.Module) -> bool:
    kind = type(layer)
    return kind is nn.Conv2d or (issubclass(kind, nn.Conv2d) and known(kind))


_USUAL = ((3, 3), (1, 1), (1, 1), 1, (1, 1), "zeros")


def _form(layer: Any) -> tuple[object, ...]:
    names = ("kernel_size", "stride", "padding", "groups", "dilation", "padding_mode")
    return tuple(getattr(layer, name) for name in names)


def merged_step(networks: SliceNetworks, step: range, latents: Tensor) -> MergedStep:
    """The step's networks, merged once for as long as their weights stay."""
    mean, scale, lrp = (
        [convolutions(kind[i]) for i in step]
        for kind in (networks.mean, networks.scale, networks.lrp)
    )
    weights = [
        parameter
        for layers in (*mean, *scale, *lrp)
        for layer in layers
        for parameter in (layer.weight, layer.bias)
        if parameter is not None
    ]
    filtered = winograd.fits(latents, mean[0][0].weight, (1, 1), (1, 1))
    key = ("step", len(step), latents.dtype, filtered)
    return prepared(key, weights, lambda: MergedStep(mean, scale, lrp, latents))


def convolutions(network: Any) -> _Layers:
    """Of a slice network, in order."""
    return list(network)[::2]


class MergedStep:
    """The networks of k slices that depend on the same support.

    Args:
        mean: The convolutions of each slice's mean network.
        scale: Those of the scale networks, of the same number and widths.
        lrp: Those of the LRP networks.
        latents: (B, C, H, W), the hyperprior's share, of the type of all inputs.
    """

    def __init__(
        self, mean: list[_Layers], scale: list[_Layers], lrp: list[_Layers], latents: Tensor
    ) -> None:
        k = len(mean)

        def merged(layers: Sequence[nn.Conv2d], groups: int = 1) -> _Convolution:
            weight = torch.cat([layer.weight for layer in layers])
            bias = torch.cat([_bias(layer) for layer in layers])
            return _packed(weight, bias, groups, latents)

        self._mean = merged([layers[0] for layers in mean])
        self._scale = merged([layers[0] for layers in scale])
        self._further = [
            merged([layers[depth] for layers in [*mean, *scale]], 2 * k)
            for depth in range(1, len(mean[0]))
        ]
        shared = mean[0][0].in_channels
        first = [layers[0] for layers in lrp]
        self._lrp_support = _packed(
            torch.cat([layer.weight[:, :shared] for layer in first]), None, 1, latents
        )
        self._lrp_own = _packed(
            torch.cat([layer.weight[:, shared:] for layer in first]),
            torch.cat([_bias(layer) for layer in first]),
            k,
            latents,
        )
        self._lrp_further = [
            merged([layers[depth] for layers in lrp], k) for depth in range(1, len(lrp[0]))
        ]

    def mean_and_scale(self, mean_support: Tensor, scale_support: Tensor) -> tuple[Tensor, Tensor]:
        """The means and the scales of the k slices, each (B, k * channels, H, W)."""
        mean = self._mean(mean_support, "gelu")
        x = stacked([mean, self._scale(scale_support, "gelu")])
        mean, scale = _run(self._further, x).chunk(2, 1)
        return mean, scale

    def decoded(self, mean_support: Tensor, quantized: Tensor) -> Tensor:
        """Quantised slices + half the tanh of their predicted residuals."""
        x = self._lrp_own(quantized, "gelu", self._lrp_support(mean_support))
        return add_residual(quantized, _run(self._lrp_further, x))


def _run(layers: list[_Convolution], x: Tensor) -> Tensor:
    for layer in layers[:-1]:
        x = layer(x, "gelu")
    return layers[-1](x)


def _bias(layer: nn.Conv2d) -> Tensor:
    return layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias


def _packed(weight: Tensor, bias: Tensor | None, groups: int, like: Tensor) -> _Convolution:
    if winograd.fits(like, weight, (1, 1), (1, 1), groups):
        return winograd.Convolution(weight, bias, groups=groups, compact=True)
    shape = (len(like), groups * weight.shape[1], *like.shape[2:])
    return onednn.Convolution(weight, bias, (1, 1), (1, 1), groups, like.dtype, shape)
