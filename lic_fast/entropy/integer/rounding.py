"""Weights to integers, with what one weight's rounding costs made up for by the others."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LARGEST_WEIGHT", "nearest", "round_weights"]

LARGEST_WEIGHT = 127
_BLOCK = 128
_DAMPING = 0.01


def round_weights(weight: Tensor, scale: Tensor, covariance: Tensor) -> Tensor:
    r"""Integers q that keep the variance of :math:`(w - s q) x` small for inputs x.

    Frantar et al., "GPTQ", ICLR 2023, algorithm 1: column after column is
    rounded, and its error carried over to the columns that are still to come,
    by the inverse of their covariance. Columns of large variance come first.
    What it is worth: ``benchmarks/results/portable.md``.

    Args:
        weight: (M, K).
        scale: (M,), of a unit of each row.
        covariance: (K, K) of the inputs; its diagonal is raised by a hundredth of its mean.

    Returns:
        (M, K) float64, integers in -127..127.
    """
    covariance = covariance.clone()
    diagonal = covariance.diagonal()
    diagonal.add_(_DAMPING * float(diagonal.mean()) + 1e-12)
    order = diagonal.argsort(descending=True)
    remaining, scale = weight[:, order].float(), scale.float()
    factor, failed = torch.linalg.cholesky_ex(covariance[order][:, order])
    if int(failed):
        return nearest(weight, scale)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(factor), upper=True)
    rounded = torch.empty_like(remaining)
    for first in range(0, len(order), _BLOCK):
        last = min(first + _BLOCK, len(order))
        errors = remaining.new_empty(len(weight), last - first)
        for j in range(first, last):
            rounded[:, j] = nearest(remaining[:, j], scale)
            error = (remaining[:, j] - rounded[:, j] * scale) / inverse[j, j]
            remaining[:, j + 1 : last] -= error[:, None] * inverse[j, j + 1 : last]
            errors[:, j - first] = error
        remaining[:, last:] -= errors @ inverse[first:last, last:]
    return rounded[:, order.argsort()].double()


def nearest(weight: Tensor, scale: Tensor) -> Tensor:
    """Each weight, (M,) or (M, K), rounded to the nearest multiple of its row's scale."""
    units = weight / scale.view(-1, *[1] * (weight.dim() - 1))
    return units.round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
