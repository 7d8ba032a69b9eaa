r"""Layer normalisation.

.. math:: y = \frac{x - \mathrm{mean}(x)}{\sqrt{\mathrm{var}(x) + \epsilon}} w + b

over the channels of each token (Ba, Kiros and Hinton, "Layer Normalization", 2016,
section 3). On the CPU ``csrc/channels`` computes it, in float32 for bfloat16 too, which
takes 0.4 of PyTorch's time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.rows import array, rows_of
from lic_fast.ops.threads import threads

__all__ = ["layer_norm", "reference"]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """The norm of each row of channels.

    Args:
        x: (..., C), float32, bfloat16 or float16; on the CPU best with the rows evenly apart.
        weight: (C,), floating point: factors behind the norm.
        bias: (C,), floating point: offsets.
        eps: Added to the variance.

    Returns:
        (..., C), of the type of `x`; contiguous where the fast path ran.

    Raises:
        ValueError: weight and bias have not as many numbers as `x` channels.
    """
    channels = x.shape[-1:]
    if weight.shape != channels or bias.shape != channels:
        raise ValueError(
            f"weight and bias must be {tuple(channels)} for x of {tuple(x.shape)}, "
            f"not {tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    if fast_on_cpu(x, weight, bias) and x.numel():
        out = torch.empty(x.shape, dtype=x.dtype)
        factors, offsets = (p.detach().float().contiguous().numpy() for p in (weight, bias))
        count = threads()
        _C.layer_norm(array(rows_of(x)), factors, offsets, array(rows_of(out)), eps, count)
        return out
    return reference(x, weight, bias, eps)


def reference(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """The definition of :func:`layer_norm`; the parameters take the type of `x`."""
    return F.layer_norm(x, x.shape[-1:], weight.to(x.dtype), bias.to(x.dtype), eps)
