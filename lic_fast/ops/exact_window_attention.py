r"""Window attention with the same result on every machine.

For one head of size d inside one window, with integers :math:`Q, K, V` of 11 bits,

.. math::
    l &= s \cdot (Q K^T) + B \\
    p &= \mathrm{round}(2^{14} \exp(l - \max l)) \\
    o &= \Delta \cdot \frac{p V}{\sum p}

(Liu et al., "Swin Transformer", ICCV 2021, equation 4). The products with K and
with V and the sum of p are sums of integers: below :math:`d \cdot 2^{20}`,
:math:`t \cdot 2^{24}` and :math:`t \cdot 2^{14}` for t tokens, exact in float64, in
whatever order. The rest are single IEEE operations on float32, the exponential those of
:func:`lic_fast.ops.exact.exp`. Tokens that only the shift brought into one window do
not see each other: their p is zero. On the CPU ``csrc/integer`` computes windows of up
to 8 x 8 tokens without window tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops import exact
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.prepared import prepared
from lic_fast.ops.threads import threads
from lic_fast.ops.window_attention import relative_position_index
from lic_fast.ops.windows import merge, partition, separated

__all__ = ["LARGEST", "bias_of_pairs", "exact_window_attention", "reference"]

LARGEST = 2**10 - 1
"""Magnitude of queries, keys and values."""

_ONE = 2.0**14

# What csrc/integer takes.
_LARGEST_CPU_WINDOW = 8
_LARGEST_CPU_HEAD = 64


def exact_window_attention(
    qkv: Tensor,
    inverse_step: Tensor,
    scale: Tensor,
    table: Tensor,
    value_step: Tensor,
    *,
    window_size: int,
    shift: int = 0,
) -> Tensor:
    """Attention inside the windows of a feature map, with a cyclic shift if asked.

    Args:
        qkv: (B, H, W, 3*C) float32, H and W multiples of the window: query, key and
            value of each token, each as the run of its heads.
        inverse_step: (3*C,) float32: integers in one unit of qkv.
        scale: (heads,) float32: what a product of integer queries and keys stands for.
        table: ((2w-1)^2, heads) float32: relative position bias.
        value_step: (C,) float32: what an integer of the values stands for.
        window_size: Side w of the windows.
        shift: Tokens by which the windows are shifted, 0 <= shift < w.

    Returns:
        (B, H, W, C) float32.

    Raises:
        TypeError: An operand is not float32.
        ValueError: Shapes do not fit each other.
    """
    _check(qkv, inverse_step, scale, table, value_step, window_size, shift)
    channels = len(value_step)
    fits = window_size <= _LARGEST_CPU_WINDOW and channels // len(scale) <= _LARGEST_CPU_HEAD
    if not fits or not exact_on_cpu(qkv) or not qkv.numel():
        return reference(qkv, inverse_step, scale, table, value_step, window_size, shift)
    out = torch.empty(*qkv.shape[:3], channels)
    bias = prepared(("exact bias", window_size), [table], lambda: bias_of_pairs(table, window_size))
    _C.exact_window_attention(
        qkv.detach().contiguous().numpy(),
        inverse_step.contiguous().numpy(),
        scale.contiguous().numpy(),
        bias.numpy(),
        value_step.contiguous().numpy(),
        out.numpy(),
        window_size,
        shift,
        threads(),
    )
    return out


def reference(
    qkv: Tensor,
    inverse_step: Tensor,
    scale: Tensor,
    table: Tensor,
    value_step: Tensor,
    window_size: int,
    shift: int,
) -> Tensor:
    """The definition of :func:`exact_window_attention`."""
    integers = (qkv * inverse_step).round().clamp(-LARGEST, LARGEST).double()
    q, k, v = partition(integers, window_size, shift, 3, len(scale))
    logits = (q @ k.transpose(-2, -1)).float() * scale.view(-1, 1, 1)
    logits = logits + bias_of_pairs(table, window_size)
    if shift:
        rows, columns = qkv.shape[1] // window_size, qkv.shape[2] // window_size
        apart = separated(rows, columns, window_size, shift, logits.device)[:, None]
        logits = logits.masked_fill(apart, float("-inf"))
    # Less than the largest by infinity: exp of that is that of -87, and its p is zero.
    weights = (exact.exp(logits - logits.amax(-1, keepdim=True)) * _ONE).round()
    total = weights.double().sum(-1, keepdim=True).float()
    attended = (weights.double() @ v).float() / total
    return merge(attended[None], qkv.shape, window_size, shift) * value_step


def bias_of_pairs(table: Tensor, window_size: int) -> Tensor:
    """(heads, tokens, tokens): the table's entry of each pair."""
    tokens = window_size * window_size
    index = relative_position_index(window_size, table.device).flatten()
    return table[index].view(tokens, tokens, -1).permute(2, 0, 1).contiguous()


def _check(
    qkv: Tensor,
    inverse_step: Tensor,
    scale: Tensor,
    table: Tensor,
    value_step: Tensor,
    window_size: int,
    shift: int,
) -> None:
    operands = (qkv, inverse_step, scale, table, value_step)
    if any(operand.dtype != torch.float32 for operand in operands):
        raise TypeError(f"operands must be float32, not {[o.dtype for o in operands]}")
    if not 0 <= shift < window_size:
        raise ValueError(f"the shift must be in 0..{window_size - 1}, not {shift}")
    if qkv.dim() != 4 or qkv.shape[1] % window_size or qkv.shape[2] % window_size:
        raise ValueError(
            f"qkv must be (B, H, W, 3*C) in whole windows of {window_size}, not {tuple(qkv.shape)}"
        )
    channels, heads = qkv.shape[3] // 3, len(scale)
    shapes = {
        "inverse_step": (inverse_step, (3 * channels,)),
        "value_step": (value_step, (channels,)),
        "table": (table, ((2 * window_size - 1) ** 2, heads)),
    }
    for name, (operand, shape) in shapes.items():
        if operand.shape != shape:
            raise ValueError(f"{name} must be {shape}, not {tuple(operand.shape)}")
    if qkv.shape[3] % 3 or channels % heads:
        raise ValueError(f"{qkv.shape[3]} channels of qkv do not divide into 3 x {heads} heads")
