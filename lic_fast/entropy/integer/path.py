"""The entropy path of a portable model as programs: both hyper-syntheses, then the slices.

It is made once for as long as nothing in its networks changes, so that a picture asks once. Where
it may not run, the modules do, one by one, with the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lic_fast.entropy.integer.program import program_of
from lic_fast.entropy.integer.recorded import Recorded, UnrecordableError
from lic_fast.entropy.integer.slices import Quantize, by_arrays, maps_of, networks_of, slices_of
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.held import held
from lic_fast.ops.integer_program import arrays_of
from lic_fast.ops.plain import plain_network
from lic_fast.ops.threads import threads
from lic_fast.runtime.entropy_path import EntropyPath, Network, PackedEntropyPath

if TYPE_CHECKING:
    from lic_fast.entropy.slices import SliceNetworks

__all__ = ["integer_path", "path_of", "run_path"]


def integer_path(
    mean: nn.Module, scale: nn.Module, networks: SliceNetworks, z_hat: Tensor
) -> PackedEntropyPath | None:
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

    def build() -> PackedEntropyPath | None:
        try:
            return PackedEntropyPath(path_of(mean, scale, networks, channels))
        except (UnrecordableError, ValueError):
            return None

    return held(("integer path", form, channels), roots, build)


def path_of(
    mean: nn.Module, scale: nn.Module, networks: SliceNetworks, channels: int
) -> EntropyPath:
    """The entropy path in arrays.

    Args:
        mean: The hyper-synthesis of means.
        scale: The hyper-synthesis of scales.
        networks: The networks of the slices.
        channels: Of the hyperlatents.

    Raises:
        UnrecordableError: There is no program for one of them, or it is watched.
    """
    if not plain_network(mean, scale):
        raise UnrecordableError("a hyper-synthesis is watched")
    with torch.no_grad():
        hyper = [_program(network, channels) for network in (mean, scale)]
        return EntropyPath(hyper, slices_of(networks))


def run_path(
    path: PackedEntropyPath, z_hat: Tensor, quantize: Quantize
) -> tuple[Tensor, Tensor, Tensor]:
    """Decoded latents, means and scales; see :mod:`lic_fast.entropy.slices`.

    Args:
        path: The programs.
        z_hat: (B, N, H, W) float32.
        quantize: As there.
    """
    x = z_hat.detach().permute(0, 2, 3, 1).numpy()
    return maps_of(path.run(x, by_arrays(quantize), threads(), means=True))


def _program(network: Any, channels: int) -> Network:
    given = Recorded.input(channels)
    found: Network = arrays_of(program_of(given, [(network(given), None)]))
    return found
