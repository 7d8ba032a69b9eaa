"""Weights to integers, with what one weight's rounding costs made up for by the others."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LARGEST_WEIGHT", "nearest", "round_layer", "round_weights", "smallest_scale"]

LARGEST_WEIGHT = 127
_BLOCK = 128
_DAMPING = 0.01


def smallest_scale(weight: Tensor, step: Tensor) -> Tensor:
    """(M,) float64: scales at which each row's largest weight is the largest integer.

    Args:
        weight: (M, N, k, k), or of a linear map (M, N).
        step: (N,) float64, of the activations.
    """
    largest = _folded(weight, step).flatten(1).abs().amax(1)
    return (largest / LARGEST_WEIGHT).clamp(min=1e-12)


def round_layer(
    weight: Tensor,
    bias: Tensor | None,
    step: Tensor,
    scale: Tensor,
    mean: Tensor | None = None,
    covariance: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights and bias of a layer in units of its sums.

    The bias makes up for what the rounding moves the channel's mean by (Nagel et al.,
    "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
    section 4.2).

    Args:
        weight: (M, N, k, k), or of a linear map (M, N).
        bias: (M,) or None.
        step: (N,) float64, of the activations.
        scale: (M,) float64, what a unit of the sums stands for.
        mean: (N,), of the input's channels, for the bias.
        covariance: (N k^2, N k^2) float32 of the inputs of a row, by which
            :func:`round_weights` rounds; without it each weight goes to its nearest integer.

    Returns:
        (M, N k^2) and (M,) float64, integers.
    """
    folded = _folded(weight, step)
    rows = folded.flatten(1)
    if covariance is None:
        rounded = nearest(rows, scale)
    else:
        steps = step.float().repeat_interleave(rows.shape[1] // len(step))
        rounded = round_weights(rows, scale, covariance / steps[:, None] / steps)
    offset = torch.zeros_like(scale) if bias is None else bias.detach().double()
    if mean is not None:
        error = (rounded * scale[:, None] - rows).view_as(folded) / step[:, None]
        offset = offset - error.sum(2) @ mean.double()
    return rounded, (offset / scale).round()


def _folded(weight: Tensor, step: Tensor) -> Tensor:
    """Weights of activations: (M, N, taps) float64."""
    return weight.detach().double().reshape(len(weight), len(step), -1) * step[:, None]


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
