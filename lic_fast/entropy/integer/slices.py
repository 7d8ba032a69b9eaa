"""The slices of a portable model, their support quantised once and kept as integers.

:func:`lic_fast.entropy.slices.run_slices` is the definition: every network quantises
its own input. Here the activations of the hyperprior's share and of each decoded
slice are written once, side by side, into a map of which every later network reads
the first channels; a network is one call, whose hidden maps are integers. The bits
are the same, since a map has one quantizer, whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from lic_fast.entropy.integer.activation import ExactGELU
from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.exact_add_residual import exact_add_residual
from lic_fast.ops.exact_quantize import exact_quantize
from lic_fast.ops.integer_layer import Quantizer
from lic_fast.ops.integer_network import IntegerNetwork, Layer
from lic_fast.ops.prepared import prepared

if TYPE_CHECKING:
    from lic_fast.entropy.slices import SliceNetworks

__all__ = ["AttendedSupport", "IntegerSlices", "PlainSupport", "Support", "integer_slices"]


def integer_slices(networks: SliceNetworks, latents: Tensor) -> IntegerSlices | None:
    """The networks as chains of integer layers, if the fast path may run and they are such.

    Made once for as long as their numbers stay.
    """
    if not networks.exact or not exact_on_cpu(latents):
        return None
    every: list[Any] = [*networks.mean, *networks.scale, *networks.lrp]
    if not all(_is_chain(network) for network in every):
        return None
    numbers = [buffer for network in every for buffer in network.buffers()]
    made = prepared("integer slices", numbers, lambda: IntegerSlices(networks))
    return made if made.shared else None


def _is_chain(network: Any) -> bool:
    """Whether the network is integer convolutions with GELU between, and nobody watches it."""
    if not isinstance(network, nn.Sequential) or len(network) % 2 == 0:
        return False
    kinds = (IntegerConv2d, ExactGELU)
    return all(
        type(layer) is kinds[i % 2] and not layer._forward_hooks and not layer._forward_pre_hooks
        for i, layer in enumerate(network)
    )


class IntegerSlices:
    """Mean, scale and LRP networks of all slices.

    Attributes:
        shared: Whether networks that read the same map quantise it alike, as those that
            :func:`lic_fast.make_portable` makes do. Without that there is no fast path.
    """

    def __init__(self, networks: SliceNetworks) -> None:
        self.limit = networks.steps()[-1][0]
        kinds = [
            [_convolutions(network) for network in kind]
            for kind in (networks.mean, networks.scale, networks.lrp)
        ]
        self._mean, self._scale, self._lrp = (
            [IntegerNetwork(_layers(convolutions)) for convolutions in kind] for kind in kinds
        )
        self._halves = [[convolutions[0].halves for convolutions in kind] for kind in kinds]
        self.mean_input, self.scale_input, lrp_input = (
            [convolutions[0].quantizer for convolutions in kind] for kind in kinds
        )
        self.width = kinds[0][0][-1].weight.shape[0]
        self.own = [_part(q, len(q.zero) - self.width, len(q.zero)) for q in lrp_input]
        attended = networks.mean_attention is not None
        decoded = [*self.own[: self.limit]]
        self.shared = all(
            _same(_part(lrp, 0, len(mean.zero)), mean)
            and (
                attended
                or (
                    _same(mean, _joined([self.mean_input[0], *decoded[: min(i, self.limit)]]))
                    and _same(scale, _joined([self.scale_input[0], *decoded[: min(i, self.limit)]]))
                )
            )
            for i, (mean, scale, lrp) in enumerate(
                zip(self.mean_input, self.scale_input, lrp_input, strict=True)
            )
        )

    def run_step(
        self,
        step: range,
        support: Support,
        quantize: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """The decoded slices of a step; see :mod:`lic_fast.entropy.slices`."""
        maps = [support.read(i) for i in step]
        mean, scale = (
            self._all(networks, halves, [pair[kind] for pair in maps], step)
            for kind, (networks, halves) in enumerate(
                ((self._mean, self._halves[0]), (self._scale, self._halves[1]))
            )
        )
        quantized = quantize(mean, scale)
        residual = torch.empty_like(mean)
        for place, i in enumerate(step):
            own = self._own(place)
            read = support.read_with(i, quantized[:, own])
            self._lrp[i](read[: self._halves[2][i]], out=residual[:, own])
        decoded = exact_add_residual(quantized, residual)
        for place, i in enumerate(step):
            support.append(i, decoded[:, self._own(place)])
        return decoded

    def _all(
        self,
        networks: list[IntegerNetwork],
        halves: list[int],
        maps: list[list[Tensor]],
        step: range,
    ) -> Tensor:
        """The outputs of a step's networks side by side, written where they belong."""
        batch, _, height, width = maps[0][0].shape
        shape = (batch, len(step) * self.width, height, width)
        out = torch.empty(shape, memory_format=torch.channels_last)
        for place, i in enumerate(step):
            networks[i](maps[place][: halves[i]], out=out[:, self._own(place)])
        return out

    def _own(self, place: int) -> slice:
        return slice(place * self.width, (place + 1) * self.width)


class Support(Protocol):
    """What the networks read, as activations."""

    def read(self, i: int) -> tuple[list[Tensor], list[Tensor]]:
        """Halves of the inputs of slice i's mean and scale networks."""

    def read_with(self, i: int, quantized: Tensor) -> list[Tensor]:
        """The mean network's input and the quantised slice beside it."""

    def append(self, i: int, decoded: Tensor) -> None:
        """Takes a decoded slice."""


class PlainSupport:
    """Of networks that read the hyperprior's share and decoded slices themselves."""

    def __init__(self, slices: IntegerSlices, latent_means: Tensor, latent_scales: Tensor) -> None:
        self._slices = slices
        self._start = latent_means.shape[1]
        decoded = slices.limit * slices.width
        # One more slice, which only LRP networks read.
        self._mean = _maps(latent_means, self._start + decoded + slices.width)
        self._scale = _maps(latent_scales, self._start + decoded)
        _write(latent_means, slices.mean_input[0], self._mean, 0)
        _write(latent_scales, slices.scale_input[0], self._scale, 0)

    def _place(self, i: int) -> int:
        return self._start + min(i, self._slices.limit) * self._slices.width

    def read(self, i: int) -> tuple[list[Tensor], list[Tensor]]:
        """See :class:`Support`."""
        end = self._place(i)
        return [half[:, :end] for half in self._mean], [half[:, :end] for half in self._scale]

    def read_with(self, i: int, quantized: Tensor) -> list[Tensor]:
        """See :class:`Support`."""
        place = self._place(i)
        # Over that of the slice before, where slices have the same support.
        _write(quantized, self._slices.own[i], self._mean, place)
        return [half[:, : place + self._slices.width] for half in self._mean]

    def append(self, i: int, decoded: Tensor) -> None:
        """See :class:`Support`."""
        if i >= self._slices.limit:
            return
        for maps in (self._mean, self._scale):
            _write(decoded, self._slices.own[i], maps, self._place(i))


class AttendedSupport:
    """Of networks that read what an attention module makes of it (TCM)."""

    def __init__(
        self,
        slices: IntegerSlices,
        networks: SliceNetworks,
        latent_means: Tensor,
        latent_scales: Tensor,
    ) -> None:
        self._slices = slices
        self._networks = networks
        self._latents = (latent_means, latent_scales)
        self._decoded: list[Tensor] = []
        self._mean: dict[int, list[Tensor]] = {}

    def read(self, i: int) -> tuple[list[Tensor], list[Tensor]]:
        """See :class:`Support`."""
        networks, slices = self._networks, self._slices
        assert networks.mean_attention is not None
        assert networks.scale_attention is not None
        support = networks.support(self._decoded)
        mean = networks.mean_attention[i](torch.cat([self._latents[0], *support], 1))
        scale = networks.scale_attention[i](torch.cat([self._latents[1], *support], 1))
        maps = _maps(mean, mean.shape[1] + slices.width)
        _write(mean, slices.mean_input[i], maps, 0)
        self._mean[i] = maps
        return [half[:, : mean.shape[1]] for half in maps], slices.scale_input[i](scale)

    def read_with(self, i: int, quantized: Tensor) -> list[Tensor]:
        """See :class:`Support`."""
        maps = self._mean.pop(i)
        _write(quantized, self._slices.own[i], maps, maps[0].shape[1] - self._slices.width)
        return maps

    def append(self, i: int, decoded: Tensor) -> None:
        """See :class:`Support`."""
        self._decoded.append(decoded)


def _maps(like: Tensor, channels: int) -> list[Tensor]:
    """Both halves of a map of the same sides, with channels last, to be written."""
    shape = (len(like), channels, *like.shape[2:])
    return [
        torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last) for _ in range(2)
    ]


def _write(x: Tensor, quantizer: Quantizer, maps: list[Tensor], first: int) -> None:
    """The activations of x into the channels from `first` on."""
    into = [half[:, first : first + x.shape[1]] for half in maps]
    exact_quantize(x, quantizer.inverse_step, quantizer.zero, quantizer.bits, out=into)


def _convolutions(network: Any) -> list[IntegerConv2d]:
    return list(network)[::2]


def _layers(convolutions: list[IntegerConv2d]) -> list[Layer]:
    following = [conv.quantizer for conv in convolutions[1:]]
    return [
        Layer(
            conv.weight,
            conv.bias,
            conv.scale,
            conv.border,
            conv.stride,
            activation="none" if output is None else "gelu",
            output=output,
        )
        for conv, output in zip(convolutions, [*following, None], strict=True)
    ]


def _part(quantizer: Quantizer, first: int, end: int) -> Quantizer:
    channels = slice(first, end)
    return Quantizer(quantizer.inverse_step[channels], quantizer.zero[channels], quantizer.bits)


def _joined(parts: list[Quantizer]) -> Quantizer:
    return Quantizer(
        torch.cat([part.inverse_step for part in parts]),
        torch.cat([part.zero for part in parts]),
        parts[0].bits,
    )


def _same(one: Quantizer, other: Quantizer) -> bool:
    return (
        one.bits == other.bits == 14
        and torch.equal(one.inverse_step, other.inverse_step)
        and torch.equal(one.zero, other.zero)
    )
