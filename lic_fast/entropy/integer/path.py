"""The entropy path of a portable model as programs: both hyper-syntheses, then the slices.

It is made once for as long as nothing in its networks changes, so that a picture asks once. Where
it may not run, the modules do, one by one, with the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lic_fast import _C
from lic_fast.entropy.integer.program import RecordedProgram, program_of
from lic_fast.entropy.integer.recorded import Recorded, UnrecordableError
from lic_fast.entropy.integer.slices import (
    Floats,
    IntegerSlices,
    Quantize,
    networks_of,
    numbers_of,
)
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.held import held
from lic_fast.ops.plain import plain_network
from lic_fast.ops.threads import threads

if TYPE_CHECKING:
    from lic_fast.entropy.slices import SliceNetworks

__all__ = ["IntegerPath", "integer_path"]


def integer_path(
    mean: nn.Module, scale: nn.Module, networks: SliceNetworks, z_hat: Tensor
) -> IntegerPath | None:
    """The entropy path as programs, None if it may not run as such here or is no such path.

    Args:
        mean: The hyper-synthesis of means.
        scale: The hyper-synthesis of scales.
        networks: The networks of the slices.
        z_hat: The hyperlatents that are to be given to the path.
    """
    if not networks.exact or not exact_on_cpu(z_hat) or z_hat.dtype != torch.float32:
        return None
    roots, form = networks_of(networks)
    roots = [mean, scale, *roots]
    channels = z_hat.shape[1]
    key = ("integer path", form, channels)
    return held(key, roots, lambda: IntegerPath.made_of(mean, scale, networks, channels))


class IntegerPath:
    """Programs of the hyper-syntheses and of the slices.

    Args:
        hyper: The programs of the means and of the scales.
        slices: Those of the slices.
    """

    def __init__(self, hyper: list[RecordedProgram], slices: IntegerSlices) -> None:
        self._hyper = hyper
        self._numbers = [numbers_of(program.quantizer) for program in hyper]
        self._slices = slices

    @classmethod
    def made_of(
        cls, mean: nn.Module, scale: nn.Module, networks: SliceNetworks, channels: int
    ) -> IntegerPath | None:
        """The path, None if there are no programs for it or if it is watched."""
        if not plain_network(mean, scale):
            return None
        try:
            hyper = [_program(network, channels) for network in (mean, scale)]
        except UnrecordableError:
            return None
        slices = IntegerSlices.made_of(networks)
        return None if slices is None else cls(hyper, slices)

    def run(self, z_hat: Tensor, quantize: Quantize) -> tuple[Tensor, Tensor, Tensor]:
        """Decoded latents, means and scales; see :mod:`lic_fast.entropy.slices`.

        Args:
            z_hat: (B, N, H, W) float32.
            quantize: As there.
        """
        means, scales = self.hyperprior(z_hat)
        return self._slices.run(means, scales, quantize)

    def hyperprior(self, z_hat: Tensor) -> list[Floats]:
        """The shares of means and scales, each (B, r * H, r * W, M)."""
        x = z_hat.detach().permute(0, 2, 3, 1).numpy()
        batch, rows, columns, _ = x.shape
        count = threads()
        calls, results = [], []
        for program, numbers in zip(self._hyper, self._numbers, strict=True):
            halves = list(np.empty((numbers[2] // 7, *x.shape), np.uint8))
            _C.exact_quantize(x, *numbers, halves, count)
            (up,), (number,) = program.scales, program.program.outputs
            shape = (batch, rows * up, columns * up, program.program.maps[number].channels)
            out: Floats = np.empty(shape, np.float32)
            results.append(out)
            calls.append((program.program.packed, [halves], [[out]]))
        _C.run_integer_programs(calls, count)
        return results


def _program(network: Any, channels: int) -> RecordedProgram:
    given = Recorded.input(channels)
    return program_of(given, [(network(given), None)])
