r"""Convolution of small integers, with the same result everywhere.

.. math:: o_m = \sum_{n, r, c} w_{m n r c} \, a_{n, r, c}

with activations a of 7 bits, or of 14 bits in two halves :math:`a = 128 h + l`,
weights w of 8 bits and sums of 32 bits. Sums of integers do not depend on their
order, so every instruction set, thread count and device gives the same bits as
the definition in float64, :func:`reference`, whose sums are exact below 2^53.

On the CPU ``csrc/integer`` computes it: the products of two neighbours, at most
2 * 127 * 128 < 2^15, fit the 16 bits in which AVX2 and AVX-512 without VNNI sum
them. That is what the seventh bit is given up for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.backend import current_backend
from lic_fast.ops.prepared import prepared
from lic_fast.ops.threads import threads

__all__ = ["check_largest", "check_operands", "integer_conv2d", "largest_sum", "reference"]

_HALF = 128


def integer_conv2d(
    x: Sequence[Tensor],
    weight: Tensor,
    *,
    border: Sequence[Tensor],
    stride: int = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution padded by half its kernel.

    Args:
        x: One or two maps (B, N, H, W) of uint8 in 0..127: the activations, or
            their high and their low halves. Best with channels last.
        weight: (M, N / groups, k, k) int8, k odd.
        border: The activations beyond the edges, (N,) uint8 for each map: those
            that stand for zero.
        stride: Steps along rows and columns, 1..k.
        groups: Groups that N and M divide into.

    Returns:
        (B, M, ceil(H / stride), ceil(W / stride)) int32, with channels last.

    Raises:
        ValueError: Shapes do not fit each other, a number is out of range, or
            some sum could be beyond 32 bits.
        TypeError: A type is another.
    """
    check_operands(x, weight, border, stride, groups)
    packed, largest = prepared(("integer", groups), [weight], lambda: _prepare(weight, groups))
    check_largest(largest * (_HALF ** len(x) - 1))
    if x[0].device.type != "cpu" or current_backend() == "reference":
        return reference(x, weight, border=border, stride=stride, groups=groups)
    batch, _, height, width = x[0].shape
    shape = (batch, -(-height // stride), -(-width // stride), weight.shape[0])
    out = torch.empty(shape, dtype=torch.int32)
    _C.integer_conv2d(
        packed,
        [half.permute(0, 2, 3, 1).contiguous().numpy() for half in x],
        [beyond.numpy() for beyond in border],
        out.numpy(),
        stride,
        threads(),
    )
    return out.permute(0, 3, 1, 2)


def reference(
    x: Sequence[Tensor],
    weight: Tensor,
    *,
    border: Sequence[Tensor],
    stride: int = 1,
    groups: int = 1,
) -> Tensor:
    """The definition of :func:`integer_conv2d`, in float64."""
    activations, beyond = x[0].double(), border[0].double()
    if len(x) == 2:
        activations = _HALF * activations + x[1].double()
        beyond = _HALF * beyond + border[1].double()
    side = weight.shape[2] // 2
    batch, _, height, width = x[0].shape
    padded = beyond.view(1, -1, 1, 1).repeat(batch, 1, height + 2 * side, width + 2 * side)
    padded[:, :, side : side + height, side : side + width] = activations
    sums = F.conv2d(padded, weight.double(), stride=stride, groups=groups)
    return sums.to(torch.int32).contiguous(memory_format=torch.channels_last)


def largest_sum(weight: Tensor, halves: int = 1) -> int:
    """The largest magnitude that a sum can have, with activations of 7 or, in halves, 14 bits.

    No partial sum, in whatever order, is larger: activations are not negative, so that
    it lies between the sum of the negative weights and that of the positive ones, each
    times the largest activation.
    """
    return _largest_row(weight) * (_HALF**halves - 1)


def _largest_row(weight: Tensor) -> int:
    rows = weight.detach().flatten(1).to(torch.int64)
    return max(int(rows.clamp(min=0).sum(1).max()), -int(rows.clamp(max=0).sum(1).min()))


def _prepare(weight: Tensor, groups: int) -> tuple[_C.IntegerWeights, int]:
    return _C.IntegerWeights(weight.detach().cpu().contiguous().numpy(), groups), _largest_row(
        weight
    )


def check_largest(largest: int) -> None:
    """Raises ValueError if :func:`largest_sum` is beyond 32 bits."""
    if largest >= 2**31:
        raise ValueError(f"a sum of these weights may reach {largest}, which 32 bits do not hold")


def check_operands(
    x: Sequence[Tensor], weight: Tensor, border: Sequence[Tensor], stride: int, groups: int
) -> None:
    """Raises what :func:`integer_conv2d` does; of operands on a GPU, it does not read values."""
    if len(x) not in (1, 2) or len(border) != len(x):
        raise ValueError(
            "there must be one map or two halves and a border for each, "
            f"not {len(x)} and {len(border)}"
        )
    types = {half.dtype for half in (*x, *border)}
    if weight.dtype != torch.int8 or types != {torch.uint8}:
        raise TypeError(
            "activations and border must be uint8 and weights int8, not "
            f"{', '.join(sorted(map(str, types)))} and {weight.dtype}"
        )
    if weight.dim() != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        raise ValueError(f"weight must be (M, N / groups, k, k), k odd, not {tuple(weight.shape)}")
    shapes = {tuple(half.shape) for half in x}
    channels = groups * weight.shape[1]
    if len(shapes) > 1 or x[0].dim() != 4 or x[0].shape[1] != channels:
        raise ValueError(f"x must be (B, {channels}, H, W), not {sorted(shapes)}")
    if groups < 1 or weight.shape[0] % groups or 0 in weight.shape:
        raise ValueError(f"{weight.shape[0]} channels do not divide into {groups} groups")
    if not 1 <= stride <= weight.shape[2]:
        raise ValueError(f"the stride must be in 1..{weight.shape[2]}, not {stride}")
    if any(beyond.shape != (channels,) for beyond in border):
        raise ValueError(
            f"a border must be ({channels},), not {[tuple(beyond.shape) for beyond in border]}"
        )
    checked = [*x, *border] if current_backend() == "reference" else border
    if any(bool((half >= _HALF).any()) for half in checked if half.device.type == "cpu"):
        raise ValueError("activations and border must be in 0..127")
