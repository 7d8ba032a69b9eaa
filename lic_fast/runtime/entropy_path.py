"""The entropy path of a portable model: from decoded hyperlatents to decoded latents.

Both hyper-syntheses are programs, run side by side; then the slices come one step after another.
The support of the slices is quantised once and kept as activations: those of the hyperprior's
share and of each decoded slice are written side by side into a map of which every later network
reads the first channels. :func:`lic_fast.entropy.slices.run_slices` is the definition, in which
every network quantises its own input; the bits are the same, since a map has one quantizer,
whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lic_fast import _C
from lic_fast.runtime.integer import (
    HALF_BITS,
    Layer,
    Program,
    Quantizer,
    packed_layers,
    packed_program,
)
from lic_fast.runtime.memory import empty

__all__ = [
    "EntropyPath",
    "Floats",
    "Network",
    "PackedEntropyPath",
    "PackedSlices",
    "Quantize",
    "Slices",
    "part_of",
    "steps_of",
]

Floats = npt.NDArray[np.float32]

Quantize = Callable[[slice, Floats, Floats], Floats]
"""(channels of y, means, scales), maps (B, H, W, channels), to symbols + means: rounds in an
encoder, reads in a decoder."""

_HALVES = 2
"""Of an activation of 14 bits, which those of slices have."""


class Network(NamedTuple):
    """A program of one input, and the quantizer of that."""

    program: Program
    quantizer: Quantizer


class Slices(NamedTuple):
    """Mean, scale and residual networks of all slices.

    Attributes:
        mean: For each slice the mean network, with the attention before it where there is one.
            Its outputs are the mean, and before it, where `attended` says so, the activations of
            what the attention gives.
        scale: The scale networks.
        lrp: The layers of the latent residual prediction.
        own: The quantizer of each slice itself, in what residual networks read.
        attended: Channels that the attention gives for the residual network to read; 0 without.
        limit: Slices that later ones depend on.
    """

    mean: Sequence[Network]
    scale: Sequence[Network]
    lrp: Sequence[Sequence[Layer]]
    own: Sequence[Quantizer]
    attended: Sequence[int]
    limit: int


class EntropyPath(NamedTuple):
    """All networks of a portable entropy path, in arrays.

    Attributes:
        hyper: The hyper-syntheses of means and of scales.
        slices: The networks of the slices.
    """

    hyper: Sequence[Network]
    slices: Slices


def steps_of(slices: int, limit: int) -> list[range]:
    """The slices of each step, in order: those that depend on the same support are one."""
    return [*(range(i, i + 1) for i in range(limit)), range(limit, slices)]


def part_of(quantizer: Quantizer, first: int, end: int) -> Quantizer:
    """The quantizer of channels first to end - 1."""
    channels = slice(first, end)
    return Quantizer(quantizer.inverse_step[channels], quantizer.zero[channels], quantizer.bits)


class PackedSlices:
    """Slices that run.

    Args:
        slices: The networks. All numbers are packed here.

    Raises:
        ValueError: A network does not fit the others, or a number is out of range.
        TypeError: A type is another.
    """

    def __init__(self, slices: Slices) -> None:
        check_slices(slices)
        self._steps = steps_of(len(slices.mean), slices.limit)
        self._limit = slices.limit
        self._width = len(slices.own[0].zero)
        self._own = slices.own
        self._first = slices.mean[0].quantizer, slices.scale[0].quantizer
        self._mean = [packed_program(network.program) for network in slices.mean]
        self._scale = [packed_program(network.program) for network in slices.scale]
        self._lrp = [packed_layers(layers) for layers in slices.lrp]
        self._lrp_halves = [len(layers[0].border) for layers in slices.lrp]
        self._attended = slices.attended

    def run(
        self, shares: list[Floats], quantize: Quantize, threads: int, *, means: bool = False
    ) -> tuple[Floats, Floats | None, Floats | None]:
        """Decoded latents, and with `means` all means and scales, each (B, H, W, M).

        Args:
            shares: The hyperprior's shares of the means and of the scales, each (B, H, W, M). They
                are taken out of the list, so that their memory is free early.
            quantize: Gives symbols + means of a step's slices. The scales are as the networks
                gave them, not yet clamped.
            threads: That compute.
            means: Whether means and scales are wanted too, or None in their places.
        """
        width, limit = self._width, self._limit
        *shape, start = shares[0].shape
        # What networks read: the hyperprior's share and decoded slices, in the mean's maps with
        # one more, which only residual networks read.
        channels = start + limit * width
        mean_maps = list(empty((_HALVES, *shape, channels + width), np.uint8))
        scale_maps = list(empty((_HALVES, *shape, channels), np.uint8))
        for maps, quantizer in zip((mean_maps, scale_maps), self._first, strict=True):
            _write(shares.pop(0), quantizer, maps, 0, threads)
        y_hat: Floats = empty((*shape, len(self._mean) * width), np.float32)
        kept: list[Floats] = [empty(y_hat.shape, np.float32) for _ in range(2 if means else 0)]
        for step in self._steps:
            place = start + min(step[0], limit) * width
            every = slice(step[0] * width, (step[-1] + 1) * width)
            decoded = y_hat[..., every]
            found = [one[..., every] for one in kept] or list(
                empty((2, *decoded.shape), np.float32)
            )
            attended = self._predict(step, place, (mean_maps, scale_maps), found, threads)
            last: Floats = empty(decoded.shape, np.float32)
            _C.copy(quantize(every, *found), last, threads)
            residual: Floats = empty(decoded.shape, np.float32)
            for k, i in enumerate(step):
                own = slice(k * width, (k + 1) * width)
                # Over that of the slice before, where slices have the same support.
                halves, at = (attended[i], self._attended[i]) if attended else (mean_maps, place)
                _write(last[..., own], self._own[i], halves, at, threads)
                read = [half[..., : at + width] for half in halves][: self._lrp_halves[i]]
                self._lrp[i].run(read, threads, out=residual[..., own])
            _C.exact_add_residual(last, residual, decoded, threads)
            if step[0] < limit:
                for maps in (mean_maps, scale_maps):
                    _write(decoded, self._own[step[0]], maps, place, threads)
        return y_hat, kept[0] if means else None, kept[1] if means else None

    def _predict(
        self, step: range, place: int, maps: Any, found: Sequence[Floats], threads: int
    ) -> dict[int, list[Any]]:
        """Writes means and scales of a step; gives what attention gives its residual networks."""
        calls, attended = [], {}
        for k, i in enumerate(step):
            own = slice(k * self._width, (k + 1) * self._width)
            read_means, read_scales = ([half[..., :place] for half in halves] for halves in maps)
            outputs = [[found[0][..., own]]]
            if self._attended[i]:
                shape = (_HALVES, *found[0].shape[:3], self._attended[i] + self._width)
                attended[i] = list(empty(shape, np.uint8))
                outputs.insert(0, [half[..., : self._attended[i]] for half in attended[i]])
            calls.append((self._mean[i], [read_means], outputs))
            calls.append((self._scale[i], [read_scales], [[found[1][..., own]]]))
        _C.run_integer_programs(calls, threads)
        return attended


class PackedEntropyPath:
    """An entropy path that runs.

    Args:
        path: Its networks. All numbers are packed here.

    Attributes:
        up: Sides of latents to those of hyperlatents.
        hyperlatents: Their channels.
        latents: Their channels.

    Raises:
        ValueError: A network does not fit the others, or a number is out of range.
        TypeError: A type is another.
    """

    def __init__(self, path: EntropyPath) -> None:
        if len(path.hyper) != 2:
            raise ValueError(f"there are 2 hyper-syntheses, not {len(path.hyper)}")
        self._hyper = [_PackedHyper(network) for network in path.hyper]
        if self._hyper[0].form != self._hyper[1].form:
            raise ValueError("the hyper-syntheses have maps of different kinds")
        first = path.slices.mean[0].program
        for one in (first, path.slices.scale[0].program):
            if self._hyper[0].channels != one.maps[one.inputs[0]].channels:
                raise ValueError("the slices do not read what the hyper-syntheses give")
        self._slices = PackedSlices(path.slices)

        self.up = self._hyper[0].up
        self.hyperlatents = len(self._hyper[0].quantizer.zero)
        self.latents = len(path.slices.mean) * len(path.slices.own[0].zero)

    def run(
        self, z_hat: Floats, quantize: Quantize, threads: int, *, means: bool = False
    ) -> tuple[Floats, Floats | None, Floats | None]:
        """Decoded latents, and with `means` all means and scales, each (B, up * H, up * W, M).

        Args:
            z_hat: (B, H, W, N).
            quantize: Gives symbols + means of a step's slices; see :class:`PackedSlices`.
            threads: That compute.
            means: Whether means and scales are wanted too, or None in their places.
        """
        return self._slices.run(self.hyperprior(z_hat, threads), quantize, threads, means=means)

    def hyperprior(self, z_hat: Floats, threads: int) -> list[Floats]:
        """The shares of means and scales, each (B, up * H, up * W, M)."""
        batch, rows, columns, _ = z_hat.shape
        calls, results = [], []
        for hyper in self._hyper:
            shape = (hyper.quantizer.bits // HALF_BITS, *z_hat.shape)
            halves = list(empty(shape, np.uint8))
            _C.exact_quantize(z_hat, *hyper.quantizer, halves, threads)
            out: Floats = empty(
                (batch, rows * hyper.up, columns * hyper.up, hyper.channels), np.float32
            )
            results.append(out)
            calls.append((hyper.program, [halves], [[out]]))
        _C.run_integer_programs(calls, threads)
        return results


class _PackedHyper:
    def __init__(self, network: Network) -> None:
        program = network.program
        _check_network(network)
        if len(program.outputs) != 1 or program.maps[program.outputs[0]].halves:
            raise ValueError("a hyper-synthesis gives one map of float32")
        self.program = packed_program(program)
        self.quantizer = network.quantizer
        out = program.maps[program.outputs[0]]
        self.channels, self.up = out.channels, out.scale
        self.form = (self.channels, self.up, len(network.quantizer.zero))


def _write(x: Floats, quantizer: Quantizer, halves: Any, at: int, threads: int) -> None:
    """The activations of x into the channels from `at` on."""
    end = at + x.shape[3]
    into = [halves[0][..., at:end], halves[1][..., at:end]]
    _C.exact_quantize(x, *quantizer, into, threads)


def _check_network(network: Network) -> None:
    """That a program has one input, which its quantizer fits, and maps that there are."""
    program, quantizer = network
    numbers = [*program.inputs, *program.outputs]
    if len(program.inputs) != 1 or any(not 0 <= n < len(program.maps) for n in numbers):
        raise ValueError("a network has one input, and outputs that are maps of it")
    given = program.maps[program.inputs[0]]
    if (given.channels, HALF_BITS * given.halves) != (len(quantizer.zero), quantizer.bits):
        raise ValueError("a network's input does not fit its quantizer")


def check_slices(slices: Slices) -> None:
    """Refuses networks that do not fit each other.

    Raises:
        ValueError: They do not; or maps that one network writes and others read, too, would be
            quantised in more than one way.
    """
    count = len(slices.mean)
    several = (slices.scale, slices.lrp, slices.own, slices.attended)
    if not count or any(len(one) != count for one in several):
        raise ValueError(f"there are {count} mean networks, and more or fewer of others")
    if not 0 <= slices.limit < count:
        raise ValueError(f"{slices.limit} of {count} slices cannot be what later ones depend on")
    width = len(slices.own[0].zero)
    shared = True
    for i, (mean, scale) in enumerate(zip(slices.mean, slices.scale, strict=True)):
        own = slices.own[: min(i, slices.limit)]
        for network, first in ((mean, slices.mean[0]), (scale, slices.scale[0])):
            _check_network(network)
            parts = [first.quantizer, *own]
            shared = shared and _same(network.quantizer, parts)
            *before, last = (network.program.maps[k] for k in network.program.outputs)
            attended = slices.attended[i] if network is mean else 0
            wanted = [(attended, _HALVES)] if attended else []
            found = [(other.channels, other.halves) for other in before]
            if found != wanted or (last.channels, last.halves) != (width, 0):
                raise ValueError(f"the networks of slice {i} give other maps than the slice has")
        read = slices.attended[i] or len(mean.quantizer.zero)
        if not slices.lrp[i] or slices.lrp[i][0].weight.shape[1] != read + width:
            raise ValueError(f"the residual network of slice {i} reads another map")
        if len(slices.own[i].zero) != width or len(slices.lrp[i][-1].bias) != width:
            raise ValueError(f"slice {i} has another width than the first one")
        shared = shared and slices.own[i].bits == HALF_BITS * _HALVES
    if not shared:
        raise ValueError("networks that read the same map quantise it in different ways")


def _same(quantizer: Quantizer, parts: Sequence[Quantizer]) -> bool:
    """Whether a quantizer is that of several maps side by side, each of 14 bits."""
    if any(part.bits != HALF_BITS * _HALVES for part in (quantizer, *parts)):
        return False
    return all(
        np.array_equal(whole, np.concatenate(several))
        for whole, several in (
            (quantizer.inverse_step, [part.inverse_step for part in parts]),
            (quantizer.zero, [part.zero for part in parts]),
        )
    )
