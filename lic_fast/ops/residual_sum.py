"""The sum of a branch and a multiple of its skip, written where it is wanted."""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.rows import array, rows_of
from lic_fast.ops.threads import threads

__all__ = ["reference", "residual_sum"]


def residual_sum(
    branch: Tensor, skip: Tensor, factor: float = 1.0, out: Tensor | None = None
) -> Tensor:
    """``branch + factor * skip``.

    Args:
        branch: (..., C), float32, bfloat16 or float16.
        skip: The same shape and type.
        factor: Of the skip: two where a skip lies around another one.
        out: The same shape and type, as of some channels of a larger map; anew if None. It may
            be `branch` or `skip` itself. Not where a gradient is asked for.

    Returns:
        (..., C): `out`, if there is one.

    Raises:
        ValueError: The shapes or types differ.
    """
    for other in (skip, branch if out is None else out):
        if other.shape != branch.shape or other.dtype != branch.dtype:
            raise ValueError(
                f"skip and out must be {tuple(branch.shape)} of {branch.dtype}, "
                f"not {tuple(other.shape)} of {other.dtype}"
            )
    if fast_on_cpu(branch, skip, out) and branch.numel():
        out = torch.empty_like(branch) if out is None else out
        into = rows_of(out)
        x, y = array(rows_of(branch)), array(rows_of(skip))
        _C.residual_sum(x, y, array(into), factor, threads())
        # Where the rows of `out` are not evenly apart, `into` is a copy.
        return out if into.data_ptr() == out.data_ptr() else out.copy_(into.view(out.shape))
    total = reference(branch, skip, factor)
    return total if out is None else out.copy_(total)


def reference(branch: Tensor, skip: Tensor, factor: float) -> Tensor:
    """The definition of :func:`residual_sum`."""
    return branch + factor * skip
