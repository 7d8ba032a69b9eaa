"""The logistic function of a portable network's gates, by :func:`lic_fast.ops.exact.sigmoid`.

On the CPU ``csrc/integer`` computes it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops import exact
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.threads import threads

__all__ = ["exact_sigmoid", "reference"]

reference = exact.sigmoid
"""The definition of :func:`exact_sigmoid`."""


def exact_sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)) of any shape, float32, finite.

    Raises:
        TypeError: `x` is not float32.
    """
    if x.dtype != torch.float32:
        raise TypeError(f"x must be float32, not {x.dtype}")
    if not exact_on_cpu(x):
        return reference(x)
    # In the order of its memory, whatever that is.
    out = torch.empty_like(x)
    dense = x.detach() if x.stride() == out.stride() else x.detach().contiguous()
    out = out if dense.stride() == out.stride() else torch.empty_like(dense)
    flat = [t.as_strided((t.numel(),), (1,)) for t in (dense, out)]
    _C.exact_sigmoid(flat[0].numpy(), flat[1].numpy(), threads())
    return out
