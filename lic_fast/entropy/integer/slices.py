"""The slices of a portable model, their support quantised once and kept as integers.

:func:`lic_fast.entropy.slices.run_slices` is the definition: every network quantises
its own input. Here the activations of the hyperprior's share and of each decoded
slice are written once, side by side, into a map of which every later network reads
the first channels. A network, with the attention before it where there is one, is a
program of which the maps in between never leave ``csrc``; mean and scale programs run
side by side. The bits are the same, since a map has one quantizer, whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lic_fast.entropy.integer.activation import ExactGELU
from lic_fast.entropy.integer.chain import layer_of
from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.entropy.integer.program import Output, RecordedProgram, program_of
from lic_fast.entropy.integer.recorded import Recorded, UnrecordableError
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.exact_add_residual import exact_add_residual
from lic_fast.ops.exact_quantize import exact_quantize
from lic_fast.ops.integer_layer import Quantizer
from lic_fast.ops.integer_network import IntegerNetwork, Layer
from lic_fast.ops.integer_program import Call, run_programs
from lic_fast.ops.plain import plain_network
from lic_fast.ops.prepared import prepared

if TYPE_CHECKING:
    from lic_fast.entropy.slices import SliceNetworks

__all__ = ["IntegerSlices", "Support", "integer_slices"]


def integer_slices(networks: SliceNetworks, latents: Tensor) -> IntegerSlices | None:
    """The networks as programs, if the fast path may run and they are such as it knows.

    Made once for as long as their numbers stay.
    """
    if not networks.exact or not exact_on_cpu(latents):
        return None
    every: list[Any] = [*networks.mean, *networks.scale, *networks.lrp]
    if not all(_is_chain(network) for network in every):
        return None
    attention = [*(networks.mean_attention or ()), *(networks.scale_attention or ())]
    if not plain_network(*every, *attention):
        return None
    numbers, kinds = _numbers([*every, *attention])
    key = ("integer slices", networks.max_support_slices, kinds)
    made = prepared(key, numbers, lambda: _made_of(networks))
    return made if made is not None and made.shared else None


def _made_of(networks: SliceNetworks) -> IntegerSlices | None:
    try:
        return IntegerSlices(networks)
    except UnrecordableError:
        return None


def _numbers(networks: list[Any]) -> tuple[list[Tensor], tuple[type[nn.Module], ...]]:
    """All buffers, the first layer's weights first, and the classes of all modules.

    There are thousands, for every picture: this takes a fifth of the time of
    :meth:`torch.nn.Module.buffers`.
    """
    found: list[Tensor | None] = []
    kinds: list[type[nn.Module]] = []
    waiting = networks[::-1]
    while waiting:
        module = waiting.pop()
        kinds.append(type(module))
        found.extend(module._buffers.values())
        waiting.extend(m for m in reversed(module._modules.values()) if m is not None)
    return [x for x in found if x is not None], tuple(kinds)


def _is_chain(network: Any) -> bool:
    """Whether the network is integer convolutions with GELU between."""
    if not isinstance(network, nn.Sequential) or len(network) % 2 == 0:
        return False
    kinds = (IntegerConv2d, ExactGELU)
    return all(type(layer) is kinds[i % 2] for i, layer in enumerate(network))


class IntegerSlices:
    """Mean, scale and LRP networks of all slices.

    Attributes:
        limit: Slices that later ones depend on.
        width: Channels of a slice.
        own: The quantizer of each slice itself.
        mean: The mean networks' programs, behind their attention.
        scale: The scale networks'.
        attended: Channels that the attention before each mean network gives, which the program
            gives too for the LRP network to read; 0 where there is none.
        shared: Whether networks that read the same map quantise it alike, as those that
            :func:`lic_fast.make_portable` makes do. Without that there is no fast path.

    Raises:
        UnrecordableError: A network does what no program does.
    """

    def __init__(self, networks: SliceNetworks) -> None:
        self.limit = networks.steps()[-1][0]
        lrp = [_convolutions(network) for network in networks.lrp]
        self._lrp = [IntegerNetwork(_layers(convolutions)) for convolutions in lrp]
        self._lrp_halves = [convolutions[0].halves for convolutions in lrp]
        lrp_input = [convolutions[0].quantizer for convolutions in lrp]
        self.width = len(lrp[0][-1].bias)
        self.own = [_part(q, len(q.zero) - self.width, len(q.zero)) for q in lrp_input]
        self.mean: list[RecordedProgram] = []
        self.scale: list[RecordedProgram] = []
        self.attended: list[int] = []
        self.shared = True
        for i, quantizer in enumerate(lrp_input):
            channels = len(quantizer.zero) - self.width
            beside = _part(quantizer, 0, channels)
            mean, attended = _recorded(networks.mean[i], networks.mean_attention, i, beside)
            scale, _ = _recorded(networks.scale[i], networks.scale_attention, i, None)
            self.mean.append(mean)
            self.scale.append(scale)
            self.attended.append(channels if attended else 0)
            decoded = self.own[: min(i, self.limit)]
            self.shared = (
                self.shared
                and (attended or _same(beside, mean.quantizer))
                and _same(mean.quantizer, _joined([self.mean[0].quantizer, *decoded]))
                and _same(scale.quantizer, _joined([self.scale[0].quantizer, *decoded]))
            )

    def run_step(
        self,
        step: range,
        support: Support,
        quantize: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """The decoded slices of a step; see :mod:`lic_fast.entropy.slices`."""
        mean, scale = (support.new(len(step) * self.width) for _ in range(2))
        run_programs(
            [
                call
                for place, i in enumerate(step)
                for call in self._calls(i, place, support, mean, scale)
            ]
        )
        quantized = quantize(mean, scale)
        residual = torch.empty_like(mean)
        for place, i in enumerate(step):
            own = self._own(place)
            read = support.read_with(i, quantized[:, own])
            self._lrp[i](read[: self._lrp_halves[i]], out=residual[:, own])
        decoded = exact_add_residual(quantized, residual)
        for place, i in enumerate(step):
            support.append(i, decoded[:, self._own(place)])
        return decoded

    def _calls(
        self, i: int, place: int, support: Support, mean: Tensor, scale: Tensor
    ) -> Iterator[Call]:
        """Of a slice's programs, which write where their outputs belong."""
        own = self._own(place)
        means, scales = support.read(i)
        attended = support.attended(i)
        outputs = [[mean[:, own]]] if attended is None else [attended, [mean[:, own]]]
        yield self.mean[i].program, [means], outputs
        yield self.scale[i].program, [scales], [[scale[:, own]]]

    def _own(self, place: int) -> slice:
        return slice(place * self.width, (place + 1) * self.width)


class Support:
    """What the networks read, as activations: the hyperprior's share and decoded slices.

    Args:
        slices: The networks.
        latent_means: (B, M, H, W), the hyperprior's share of the means.
        latent_scales: (B, M, H, W), the hyperprior's share of the scales.
    """

    def __init__(self, slices: IntegerSlices, latent_means: Tensor, latent_scales: Tensor) -> None:
        self._slices = slices
        self._like = latent_means
        self._start = latent_means.shape[1]
        decoded = slices.limit * slices.width
        # One more slice, which only LRP networks read.
        self._mean = self._maps(self._start + decoded + slices.width)
        self._scale = self._maps(self._start + decoded)
        self._attended: dict[int, list[Tensor]] = {}
        _write(latent_means, slices.mean[0].quantizer, self._mean, 0)
        _write(latent_scales, slices.scale[0].quantizer, self._scale, 0)

    def new(self, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A map of the latents' sides with channels last, to be written."""
        batch, _, *sides = self._like.shape
        shape = (batch, channels, *sides)
        return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)

    def read(self, i: int) -> tuple[list[Tensor], list[Tensor]]:
        """Halves of the inputs of slice i's mean and scale networks."""
        end = self._place(i)
        return [half[:, :end] for half in self._mean], [half[:, :end] for half in self._scale]

    def attended(self, i: int) -> list[Tensor] | None:
        """Where slice i's attention writes, None without one."""
        channels = self._slices.attended[i]
        if not channels:
            return None
        self._attended[i] = self._maps(channels + self._slices.width)
        return [half[:, :channels] for half in self._attended[i]]

    def read_with(self, i: int, quantized: Tensor) -> list[Tensor]:
        """The mean network's input, behind its attention, and the quantised slice beside it."""
        width = self._slices.width
        if self._slices.attended[i]:
            maps, place = self._attended.pop(i), self._slices.attended[i]
        else:
            # Over that of the slice before, where slices have the same support.
            maps, place = self._mean, self._place(i)
        _write(quantized, self._slices.own[i], maps, place)
        return [half[:, : place + width] for half in maps]

    def append(self, i: int, decoded: Tensor) -> None:
        """Takes a decoded slice."""
        if i >= self._slices.limit:
            return
        for maps in (self._mean, self._scale):
            _write(decoded, self._slices.own[i], maps, self._place(i))

    def _place(self, i: int) -> int:
        return self._start + min(i, self._slices.limit) * self._slices.width

    def _maps(self, channels: int) -> list[Tensor]:
        return [self.new(channels, torch.uint8) for _ in range(2)]


def _recorded(
    network: Any, attention: Any, i: int, beside: Quantizer | None
) -> tuple[RecordedProgram, bool]:
    """The program of a network, and whether it gives the map before it for LRP too."""
    # An attention has as many channels behind it as before it.
    given = Recorded.input(len(_convolutions(network)[0].zero))
    attended = given if attention is None else attention[i](given)
    outputs: list[Output] = [(network(attended), None)]
    if attention is None:
        return program_of(given, outputs), False
    if beside is not None:
        outputs.insert(0, (attended, beside))
    return program_of(given, outputs), beside is not None


def _write(x: Tensor, quantizer: Quantizer, maps: list[Tensor], first: int) -> None:
    """The activations of x into the channels from `first` on."""
    into = [half[:, first : first + x.shape[1]] for half in maps]
    exact_quantize(x, quantizer.inverse_step, quantizer.zero, quantizer.bits, out=into)


def _convolutions(network: Any) -> list[IntegerConv2d]:
    return list(network)[::2]


def _layers(convolutions: list[IntegerConv2d]) -> list[Layer]:
    following = [*(conv.quantizer for conv in convolutions[1:]), None]
    return [
        layer_of(conv, "none" if output is None else "gelu", output)
        for conv, output in zip(convolutions, following, strict=True)
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
