"""The slices of a portable model, their support quantised once and kept as integers.

:func:`lic_fast.entropy.slices.run_slices` is the definition: every network quantises
its own input. Here the activations of the hyperprior's share and of each decoded
slice are written once, side by side, into a map of which every later network reads
the first channels. A network, with the attention before it where there is one, is a
program of which the maps in between never leave ``csrc``; mean and scale programs run
side by side. The bits are the same, since a map has one quantizer, whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lic_fast import _C
from lic_fast.entropy.integer.activation import ExactGELU
from lic_fast.entropy.integer.chain import layer_of
from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.entropy.integer.program import Output, RecordedProgram, program_of
from lic_fast.entropy.integer.recorded import Recorded, UnrecordableError
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.held import held
from lic_fast.ops.integer_layer import Quantizer, pack
from lic_fast.ops.integer_network import Layer
from lic_fast.ops.plain import plain_network
from lic_fast.ops.threads import threads

if TYPE_CHECKING:
    from lic_fast.entropy.slices import SliceNetworks

__all__ = ["Floats", "IntegerSlices", "Quantize", "integer_slices", "networks_of", "numbers_of"]

Floats = npt.NDArray[np.float32]
Quantize = Callable[[slice, Tensor, Tensor], Tensor]
"""As :data:`lic_fast.entropy.slices.Quantizer`."""

_HALVES = 2
"""Of an activation of 14 bits, which those of slices have."""


def integer_slices(networks: SliceNetworks, latents: Tensor) -> IntegerSlices | None:
    """The networks as programs, if the fast path may run and they are such as it knows.

    Made once for as long as nothing in the networks changes.
    """
    if not networks.exact or not exact_on_cpu(latents) or latents.dtype != torch.float32:
        return None
    roots, form = networks_of(networks)
    return held(("integer slices", form), roots, lambda: IntegerSlices.made_of(networks))


def networks_of(networks: SliceNetworks) -> tuple[list[Any], tuple[Any, ...]]:
    """All networks of the slices, and what tells how they are to be read."""
    attention = networks.mean_attention, networks.scale_attention
    roots = [*networks.mean, *networks.scale, *networks.lrp]
    roots += [*(attention[0] or ()), *(attention[1] or ())]
    form = (networks.max_support_slices, attention[0] is None, attention[1] is None)
    return roots, form


class IntegerSlices:
    """Mean, scale and LRP networks of all slices.

    Attributes:
        steps: The slices of each step.
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
        self.steps = networks.steps()
        self.limit = self.steps[-1][0]
        lrp = [_convolutions(network) for network in networks.lrp]
        self._lrp = [
            _C.IntegerNetwork([pack(*layer) for layer in _layers(convolutions)])
            for convolutions in lrp
        ]
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
        self._numbers = [numbers_of(quantizer) for quantizer in self.own]
        self._first = [numbers_of(q[0].quantizer) for q in (self.mean, self.scale)]

    @classmethod
    def made_of(cls, networks: SliceNetworks) -> IntegerSlices | None:
        """The networks as programs, None if they are not such, or watched."""
        roots, _ = networks_of(networks)
        every: list[Any] = [*networks.mean, *networks.scale, *networks.lrp]
        if not all(_is_chain(network) for network in every) or not plain_network(*roots):
            return None
        try:
            made = cls(networks)
        except UnrecordableError:
            return None
        return made if made.shared else None

    def run(
        self, latent_means: Floats, latent_scales: Floats, quantize: Quantize
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decoded latents, means and scales, (B, M, H, W); see :mod:`lic_fast.entropy.slices`.

        Args:
            latent_means: (B, H, W, M), the hyperprior's share of the means.
            latent_scales: (B, H, W, M), the hyperprior's share of the scales.
            quantize: As there.
        """
        count, width = threads(), self.width
        *shape, start = latent_means.shape
        # What networks read: the hyperprior's share and decoded slices, in the mean's maps with
        # one more, which only LRP networks read.
        channels = start + self.limit * width
        high, low = np.empty((_HALVES, *shape, channels + width), np.uint8)
        scale_high, scale_low = np.empty((_HALVES, *shape, channels), np.uint8)
        self._write(latent_means, self._first[0], (high, low), 0, count)
        self._write(latent_scales, self._first[1], (scale_high, scale_low), 0, count)
        y_hat, means, scales, residual, last = np.empty(
            (5, *shape, len(self.mean) * width), np.float32
        )
        all_means, all_scales = _map_of(means), _map_of(scales)
        for step in self.steps:
            place = start + min(step[0], self.limit) * width
            calls, attended = [], {}
            for i in step:
                own = slice(i * width, (i + 1) * width)
                outputs = [[means[..., own]]]
                if self.attended[i]:
                    maps = attended[i] = np.empty(
                        (_HALVES, *shape, self.attended[i] + width), np.uint8
                    )
                    outputs.insert(0, list(maps[..., : self.attended[i]]))
                read = [high[..., :place], low[..., :place]]
                calls.append((self.mean[i].program.packed, [read], outputs))
                read = [scale_high[..., :place], scale_low[..., :place]]
                calls.append((self.scale[i].program.packed, [read], [[scales[..., own]]]))
            _C.run_integer_programs(calls, count)
            every = slice(step[0] * width, (step[-1] + 1) * width)
            quantized = quantize(every, all_means[:, every], all_scales[:, every])
            _C.copy(quantized.detach().permute(0, 2, 3, 1).numpy(), last[..., every], count)
            for i in step:
                own = slice(i * width, (i + 1) * width)
                # Over that of the slice before, where slices have the same support.
                halves, at = (attended[i], self.attended[i]) if attended else ((high, low), place)
                self._write(last[..., own], self._numbers[i], halves, at, count)
                end = at + width
                read = [halves[0][..., :end], halves[1][..., :end]][: self._lrp_halves[i]]
                self._lrp[i].run(read, count, out=residual[..., own])
            decoded = y_hat[..., every]
            _C.exact_add_residual(last[..., every], residual[..., every], decoded, count)
            if step[0] < self.limit:
                for halves in ((high, low), (scale_high, scale_low)):
                    self._write(decoded, self._numbers[step[0]], halves, place, count)
        return _map_of(y_hat), all_means, all_scales

    @staticmethod
    def _write(x: Floats, numbers: tuple[Any, Any, int], halves: Any, at: int, count: int) -> None:
        """The activations of x into the channels from `at` on."""
        end = at + x.shape[3]
        into = [halves[0][..., at:end], halves[1][..., at:end]]
        _C.exact_quantize(x, *numbers, into, count)


def numbers_of(quantizer: Quantizer) -> tuple[Any, Any, int]:
    """What ``_C.exact_quantize`` takes."""
    inverse_step = quantizer.inverse_step.detach().contiguous().numpy()
    return inverse_step, quantizer.zero.contiguous().numpy(), quantizer.bits


def _map_of(array: Floats) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def _is_chain(network: Any) -> bool:
    """Whether the network is integer convolutions with GELU between."""
    if not isinstance(network, nn.Sequential) or len(network) % 2 == 0:
        return False
    kinds = (IntegerConv2d, ExactGELU)
    return all(type(layer) is kinds[i % 2] for i, layer in enumerate(network))


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
