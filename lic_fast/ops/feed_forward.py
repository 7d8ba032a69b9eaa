r"""The second half of a transformer block.

.. math:: y = x + W_2\,\mathrm{GELU}(W_1\,\mathrm{LN}(x) + b_1) + b_2

Liu et al., "Swin Transformer", ICCV 2021, equation 3, with the norm first and
the exact GELU, :math:`\mathrm{GELU}(t) = \tfrac t2 (1 + \mathrm{erf}(t/\sqrt2))`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.linear import packed_linear
from lic_fast.ops.tokens import chunks

__all__ = ["feed_forward", "reference"]


def feed_forward(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    *,
    eps: float = 1e-5,
) -> Tensor:
    """LayerNorm, linear map, GELU, linear map and the sum with the input.

    Args:
        x: (..., C), float32, bfloat16 or float16. The other operands are converted to its type.
        norm_weight: (C,), the norm's factors.
        norm_bias: (C,), the norm's offsets.
        weight1: (hidden, C).
        bias1: (hidden,) or None.
        weight2: (C, hidden).
        bias2: (C,) or None.
        eps: What the norm adds to the variance.

    Returns:
        (..., C), of the type of `x`.
    """
    operands = (norm_weight, norm_bias, weight1, bias1, weight2, bias2)
    if fast_on_cpu(x, *operands):
        return _in_chunks(x, *operands, eps)
    return reference(x, *operands, eps)


def reference(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    eps: float,
) -> Tensor:
    """The definition of :func:`feed_forward`."""
    norm_weight, norm_bias, weight1, weight2 = (
        t.to(x.dtype) for t in (norm_weight, norm_bias, weight1, weight2)
    )
    bias1, bias2 = (None if t is None else t.to(x.dtype) for t in (bias1, bias2))
    normed = F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, eps)
    return x + F.linear(F.gelu(F.linear(normed, weight1, bias1)), weight2, bias2)


def _in_chunks(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    eps: float,
) -> Tensor:
    """Some tokens at a time: the hidden ones, four times as wide, stay in the cache."""
    x = x.contiguous()
    out = torch.empty_like(x)
    channels = x.shape[-1]
    norm_weight, norm_bias = norm_weight.to(x.dtype), norm_bias.to(x.dtype)
    widen = packed_linear(weight1, bias1, x.dtype)
    narrow = packed_linear(weight2, bias2, x.dtype)
    for part, into in chunks(x.view(-1, channels), out.view(-1, channels), weight1.shape[0]):
        normed = F.layer_norm(part, (channels,), norm_weight, norm_bias, eps)
        into.copy_(narrow(widen(normed, "gelu"), residual=part))
    return out
