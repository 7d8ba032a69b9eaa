r"""Activations of a portable network's first layer, from float32.

.. math:: a = \mathrm{clamp}(\mathrm{round}(x / \Delta) + z,\; 0,\; 2^{bits} - 1)

per channel, as :func:`lic_fast.ops.exact.quantized` defines it, in halves of 7 bits.
On the CPU ``csrc/integer`` computes it, on CUDA devices ``kernels/exact.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops import exact
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.launch import launchable
from lic_fast.ops.threads import threads

__all__ = ["exact_quantize", "halves", "reference"]

_HALF_BITS = 7


def exact_quantize(
    x: Tensor,
    inverse_step: Tensor,
    zero: Tensor,
    bits: int,
    *,
    out: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """The activations of a map, in halves.

    Args:
        x: (B, N, H, W) float32, finite.
        inverse_step: (N,) float32: steps in one unit.
        zero: (N,) int32 in 0..2^bits - 1: the activation that stands for zero.
        bits: 7, or 14 in two halves.
        out: Maps (B, N, H, W) uint8 to write, as many as there are halves, their
            channels side by side in memory: some of those of a larger map, say.

    Returns:
        `out`, or new maps with channels last, in 0..127, the high half first.

    Raises:
        ValueError: Shapes do not fit each other, or there is no such number of bits.
        TypeError: A type is another.
    """
    _check(x, inverse_step, zero, bits, out)
    if launchable(x, inverse_step, zero, dtypes=(torch.float32, torch.int32)):
        maps = torch.ops.lic_fast.quantize_activations(x, inverse_step, zero, bits)
        return maps if out is None else [to.copy_(half) for to, half in zip(out, maps, strict=True)]
    if not exact_on_cpu(x):
        maps = reference(x, inverse_step, zero, bits)
        if out is None:
            return [half.contiguous(memory_format=torch.channels_last) for half in maps]
        return [to.copy_(half) for to, half in zip(out, maps, strict=True)]
    maps = [_new(x) for _ in range(bits // _HALF_BITS)] if out is None else list(out)
    _C.exact_quantize(
        x.detach().permute(0, 2, 3, 1).numpy(),
        inverse_step.detach().contiguous().numpy(),
        zero.contiguous().numpy(),
        bits,
        [half.permute(0, 2, 3, 1).numpy() for half in maps],
        threads(),
    )
    return maps


def reference(x: Tensor, inverse_step: Tensor, zero: Tensor, bits: int) -> list[Tensor]:
    """The definition of :func:`exact_quantize`."""
    return halves(exact.quantized(x, inverse_step, zero, bits), bits)


def halves(activations: Tensor, bits: int) -> list[Tensor]:
    """Activations of 7 or 14 bits as one or two uint8 tensors in 0..127, the high one first."""
    low = (activations & (2**_HALF_BITS - 1)).to(torch.uint8)
    if bits == _HALF_BITS:
        return [low]
    return [(activations >> _HALF_BITS).to(torch.uint8), low]


def _new(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=torch.uint8, memory_format=torch.channels_last)


def _check(
    x: Tensor, inverse_step: Tensor, zero: Tensor, bits: int, out: Sequence[Tensor] | None
) -> None:
    for name, tensor, dtype in (
        ("x", x, torch.float32),
        ("inverse_step", inverse_step, torch.float32),
        ("zero", zero, torch.int32),
        *(("out", half, torch.uint8) for half in out or ()),
    ):
        if tensor.dtype != dtype:
            raise TypeError(f"{name} must be {dtype}, not {tensor.dtype}")
    if bits not in (_HALF_BITS, 2 * _HALF_BITS):
        raise ValueError(f"an activation has 7 or 14 bits, not {bits}")
    if x.dim() != 4:
        raise ValueError(f"x must be (B, N, H, W), not {tuple(x.shape)}")
    for name, tensor in (("inverse_step", inverse_step), ("zero", zero)):
        if tensor.shape != x.shape[1:2]:
            raise ValueError(f"{name} must be ({x.shape[1]},), not {tuple(tensor.shape)}")
    if out is not None and (
        len(out) != bits // _HALF_BITS or any(half.shape != x.shape for half in out)
    ):
        raise ValueError(
            f"out must be {bits // _HALF_BITS} maps {tuple(x.shape)}, "
            f"not {[tuple(half.shape) for half in out]}"
        )
