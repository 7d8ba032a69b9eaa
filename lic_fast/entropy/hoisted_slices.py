"""The slice networks on a GPU: what depends on a symbol late is computed early, or meanwhile.

The first layer of a network is linear in its input channels:
:math:`W * [a; b] = W_a * a + W_b * b`. So the hyperprior's share of the first layers of all
networks is two convolutions, and each decoded slice adds its share to the first layers of all
later networks. Of a share only that in the next step's mean and scale networks is needed for
the next indexes. The rest (that step's LRP networks and all later steps) is computed after the
indexes, while the host decodes the step's symbols. Between two steps, what has to be waited for is

- the slice's own share of the LRP network, its further layers, and the residual;
- one convolution of the new slice's channels, 32 to 64 instead of up to 576, and the further
  layers of the mean and scale networks, in groups.

A step behind an attention module (TCM) has no linear first layer to hoist. Its mean and scale
networks are one in groups, and the support's share of its LRP networks is what runs meanwhile.

Every convolution is one launch of :func:`lic_fast.ops.conv3x3`. On a CPU depth costs nothing and
moving the accumulators does: there the slices are programs of the engine.
No GPU has run this yet; the tests compare it with the definition on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lic_fast.ops import add_residual
from lic_fast.ops.conv3x3 import Activation, conv3x3
from lic_fast.ops.dispatch import untraced
from lic_fast.ops.launch import launchable
from lic_fast.ops.plain import known, unwatched
from lic_fast.ops.prepared import prepared

if TYPE_CHECKING:
    from lic_fast.entropy.slices import SliceNetworks

__all__ = ["HoistedSlices", "Run", "alike", "hoisted_slices"]

Run = Callable[[range, list[Tensor], Callable[..., Tensor]], Tensor]
"""(slices, support, quantize) to the decoded slices. `quantize` takes mean, scale and
`meanwhile`, what to compute before the symbols are there."""

_Layers = list[nn.Conv2d]


def hoisted_slices(networks: SliceNetworks, latents: Tensor) -> HoistedSlices | None:
    """The networks rearranged, if they are such and on a GPU; made once while weights stay."""
    if networks.exact:
        return None
    every = [*networks.mean, *networks.scale, *networks.lrp]
    weights = [parameter for network in every for parameter in network.parameters()]
    if (
        not launchable(latents, *weights)
        or any(weight.dtype != latents.dtype for weight in weights)
        or not untraced(latents, *weights)
        or torch.is_autocast_enabled(latents.device.type)
        or not alike(every)
    ):
        return None
    key = ("hoisted slices", networks.max_support_slices)
    return prepared(key, weights, lambda: HoistedSlices(networks))


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


def _convolutions(network: Any) -> _Layers:
    """Of a slice network, in order."""
    return list(network)[::2]


class _Convolution(NamedTuple):
    weight: Tensor
    bias: Tensor | None = None
    groups: int = 1

    def __call__(
        self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None
    ) -> Tensor:
        return conv3x3(
            x,
            self.weight,
            self.bias,
            groups=self.groups,
            activation=activation,
            residual=residual,
        )


class _Step(NamedTuple):
    """The networks of k slices that depend on the same support.

    Attributes:
        entry: To the first layers of the k mean and the k scale networks: of the newest slice,
            or in the first step of the hyperprior's shares, side by side.
        meanwhile: To the first layers of the k LRP networks and of all later steps.
        further: The other layers of the mean and scale networks.
        own: First layers of the LRP networks, the slices' own share.
        lrp: Their other layers.
    """

    entry: _Convolution
    meanwhile: list[_Convolution]
    further: list[_Convolution]
    own: _Convolution
    lrp: list[_Convolution]


class HoistedSlices:
    """Mean, scale and LRP networks of all slices.

    Args:
        networks: Networks of 3x3 convolutions with GELU between, of equal widths.
    """

    def __init__(self, networks: SliceNetworks) -> None:
        mean, scale, lrp = (
            [_convolutions(network) for network in kind]
            for kind in (networks.mean, networks.scale, networks.lrp)
        )
        self._kinds = (mean, scale, lrp)
        self._hyper = mean[0][0].in_channels
        self._slice = mean[0][-1].out_channels
        self._inner = mean[0][0].out_channels
        ranges = networks.steps()
        attended = networks.mean_attention is not None
        self._places = {step[0]: i for i, step in enumerate(ranges)}
        self._steps = [
            self._attended(step) if attended else self._hoisted(ranges, place)
            for place, step in enumerate(ranges)
        ]
        del self._kinds  # what is prepared must not hold what it is made of

    def run(self, networks: SliceNetworks, latent_means: Tensor, latent_scales: Tensor) -> Run:
        """What runs the steps of an image, one after another.

        Args:
            networks: Those that this was made of.
            latent_means: (B, N, H, W), the hyperprior's share of the means.
            latent_scales: (B, N, H, W), the hyperprior's share of the scales.
        """
        if networks.mean_attention is not None:
            return _AttendedRun(self, networks, latent_means, latent_scales)
        return _HoistedRun(self, latent_means, latent_scales)

    def step(self, step: range) -> _Step:
        """The networks of these slices."""
        return self._steps[self._places[step[0]]]

    def _hoisted(self, ranges: list[range], place: int) -> _Step:
        mean, scale, lrp = self._kinds
        step = ranges[place]
        later = ranges[place + 1 :]
        predicted = [kind[i] for kind in (mean, scale) for i in step]
        corrected = [lrp[i] for i in step]
        if place == 0:
            # What reads the means, and what reads the scales.
            hyper = slice(0, self._hyper)
            of_means = [*corrected, *(kind[i] for s in later for kind in (mean, lrp) for i in s)]
            of_scales = [scale[i] for s in later for i in s]
            entry = _first(predicted, hyper, bias=True, groups=2)
            meanwhile = [_first(of, hyper, bias=True) for of in (of_means, of_scales) if of]
        else:
            # Of the slice before, which is the newest.
            end = self._hyper + step[0] * self._slice
            newest = slice(end - self._slice, end)
            rest = [kind[i] for s in later for kind in self._kinds for i in s]
            entry = _first(predicted, newest)
            meanwhile = [_first([*corrected, *rest], newest)]
        return self._rest(entry, meanwhile, step, own_bias=False)

    def _attended(self, step: range) -> _Step:
        mean, scale, lrp = self._kinds
        k = len(step)
        support = slice(0, mean[step[0]][0].in_channels)
        entry = _first([kind[i] for kind in (mean, scale) for i in step], support, True, 2 * k)
        meanwhile = [_first([lrp[i] for i in step], support, groups=k)]
        return self._rest(entry, meanwhile, step, own_bias=True)

    def _rest(
        self, entry: _Convolution, meanwhile: list[_Convolution], step: range, own_bias: bool
    ) -> _Step:
        mean, scale, lrp = self._kinds
        k = len(step)
        predicted = [kind[i] for kind in (mean, scale) for i in step]
        corrected = [lrp[i] for i in step]
        own = slice(mean[step[0]][0].in_channels, None)
        return _Step(
            entry,
            meanwhile,
            _further(predicted, 2 * k),
            _first(corrected, own, own_bias, k),
            _further(corrected, k),
        )

    def interleaved(self, of_means: Tensor, of_scales: Tensor) -> Tensor:
        """The hyperprior's shares, step by step: LRP of the first; mean, scale, LRP of others."""
        first, *later = (len(step.own.weight) for step in self._steps)
        means = of_means.split([first, *(width for width in later for _ in range(2))], 1)
        scales = of_scales.split(later, 1)
        parts = [means[0]]
        for i in range(len(later)):
            parts += [means[1 + 2 * i], scales[i], means[2 + 2 * i]]
        return torch.cat(parts, 1)


class _HoistedRun:
    def __init__(self, slices: HoistedSlices, latent_means: Tensor, latent_scales: Tensor) -> None:
        self._slices = slices
        self._hyper = (latent_means, latent_scales)
        self._newest: Tensor | None = None
        # First layers, before their activation, as far as they are known: of this step's mean
        # and scale networks, its LRP networks, and all later steps.
        self._known: Tensor | None = None

    def __call__(
        self, step: range, support: list[Tensor], quantize: Callable[..., Tensor]
    ) -> Tensor:
        layers = self._slices.step(step)
        width = len(layers.entry.weight)
        if self._newest is None:
            x = layers.entry(torch.cat(self._hyper, 1), "gelu")
        else:
            assert self._known is not None
            x = layers.entry(self._newest, "gelu", self._known[:, :width])
        mean, scale = _run(layers.further, x).chunk(2, 1)
        quantized = quantize(mean, scale, lambda: self._share(layers, width))
        assert self._known is not None
        first = len(layers.own.weight)
        x = layers.own(quantized, "gelu", self._known[:, :first])
        decoded = add_residual(quantized, _run(layers.lrp, x))
        self._newest, self._known = decoded, self._known[:, first:]
        return decoded

    def _share(self, layers: _Step, width: int) -> None:
        if self._newest is not None:
            assert self._known is not None
            self._known = layers.meanwhile[0](self._newest, "none", self._known[:, width:])
            return
        shares = [layer(x) for layer, x in zip(layers.meanwhile, self._hyper, strict=False)]
        self._known = shares[0] if len(shares) == 1 else self._slices.interleaved(*shares)


class _AttendedRun:
    def __init__(
        self,
        slices: HoistedSlices,
        networks: SliceNetworks,
        latent_means: Tensor,
        latent_scales: Tensor,
    ) -> None:
        self._slices = slices
        self._networks = networks
        self._latents = (latent_means, latent_scales)

    def __call__(
        self, step: range, support: list[Tensor], quantize: Callable[..., Tensor]
    ) -> Tensor:
        layers = self._slices.step(step)
        means, scales = (
            [kind[i](torch.cat([latents, *support], 1)) for i in step]
            for kind, latents in zip(self._attention(), self._latents, strict=True)
        )
        x = layers.entry(torch.cat([*means, *scales], 1), "gelu")
        mean, scale = _run(layers.further, x).chunk(2, 1)
        shares: list[Tensor] = []
        quantized = quantize(
            mean, scale, lambda: shares.append(layers.meanwhile[0](torch.cat(means, 1)))
        )
        x = layers.own(quantized, "gelu", shares[0])
        return add_residual(quantized, _run(layers.lrp, x))

    def _attention(self) -> Sequence[Sequence[nn.Module] | nn.ModuleList]:
        assert self._networks.mean_attention is not None
        assert self._networks.scale_attention is not None
        return self._networks.mean_attention, self._networks.scale_attention


def _first(
    networks: list[_Layers], inputs: slice, bias: bool = False, groups: int = 1
) -> _Convolution:
    """First layers side by side, as far as they read these inputs."""
    layers = [network[0] for network in networks]
    weight = torch.cat([layer.weight[:, inputs] for layer in layers])
    return _Convolution(weight, _biases(layers) if bias else None, groups)


def _further(networks: list[_Layers], groups: int) -> list[_Convolution]:
    depths = zip(*(network[1:] for network in networks), strict=True)
    return [
        _Convolution(torch.cat([layer.weight for layer in layers]), _biases(layers), groups)
        for layers in depths
    ]


def _biases(layers: Sequence[nn.Conv2d]) -> Tensor:
    return torch.cat(
        [
            layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias
            for layer in layers
        ]
    )


def _run(layers: list[_Convolution], x: Tensor) -> Tensor:
    for layer in layers[:-1]:
        x = layer(x, "gelu")
    return layers[-1](x)
