r"""The gate of an attention module with its skip.

.. math:: y = a \, \mathrm{sigmoid}(b) + x

(Cheng et al., "Learned Image Compression with Discretized Gaussian Mixture Likelihoods
and Attention Modules", CVPR 2020, figure 4.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.rows import array, rows_of
from lic_fast.ops.threads import threads

__all__ = ["gate", "reference"]


def gate(values: Tensor, logits: Tensor, skip: Tensor) -> Tensor:
    """``values * sigmoid(logits) + skip``.

    Args:
        values: (B, C, H, W), float32, bfloat16 or float16; all best with channels last.
        logits: The same shape; best of the same type, as it is not under autocast.
        skip: The same shape; best of the same type.

    Returns:
        (B, C, H, W); with channels last where the fast path ran.

    Raises:
        ValueError: The shapes differ.
    """
    for other in (logits, skip):
        if other.shape != values.shape:
            raise ValueError(
                f"logits and skip must be {tuple(values.shape)}, not {tuple(other.shape)}"
            )
    one_type = values.dtype == logits.dtype == skip.dtype
    if one_type and fast_on_cpu(values, logits, skip) and values.numel():
        out = torch.empty_like(values, memory_format=torch.channels_last)
        a, b, x, y = (array(rows_of(t.permute(0, 2, 3, 1))) for t in (values, logits, skip, out))
        _C.gate(a, b, x, y, threads())
        return out
    return reference(values, logits, skip)


def reference(values: Tensor, logits: Tensor, skip: Tensor) -> Tensor:
    """The definition of :func:`gate`."""
    return values * torch.sigmoid(logits) + skip
