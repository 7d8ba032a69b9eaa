r"""Generalised divisive normalisation.

.. math:: y_i = x_i \left(\beta_i + \sum_j \gamma_{ij} x_j^2\right)^{\mp 1/2}

Ballé, Laparra and Simoncelli, "Density Modeling of Images Using a Generalized
Normalization Transformation", ICLR 2016, equation 3 with the exponents of
CompressAI; the inverse form has the exponent +1/2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["gdn"]


def gdn(x: Tensor, gamma: Tensor, beta: Tensor, *, inverse: bool = False) -> Tensor:
    """Divides each channel by (inverse: multiplies it with) the norm of all at its place.

    Args:
        x: (B, C, H, W), floating point.
        gamma: (C, C), not negative, converted to the type of `x`.
        beta: (C,), positive, converted to the type of `x`.
        inverse: Whether to multiply.

    Returns:
        (B, C, H, W), of the type of `x`.
    """
    norm = F.conv2d(x**2, gamma.to(x.dtype)[:, :, None, None], beta.to(x.dtype))
    return x * (torch.sqrt(norm) if inverse else torch.rsqrt(norm))
