r"""Rounding, and the scale index that names a latent's CDF."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["round_ste", "scale_index"]


def round_ste(x: Tensor) -> Tensor:
    """Rounds to nearest, ties to even, with the identity as gradient.

    The straight-through estimator of Theis et al., "Lossy Image Compression
    with Compressive Autoencoders", ICLR 2017, section 2.2. The value is exactly
    ``torch.round(x)``: the usual ``round(x) - x.detach() + x`` can be off by a
    unit in the last place, which a decoder would not reproduce.
    """
    return _RoundSTE.apply(x)


class _RoundSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: object, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


def scale_index(scales: Tensor, scale_table: Tensor) -> Tensor:
    """Index of the CDF that codes a latent of the given scale.

    The number of table entries, the last left out, that are below the scale
    (CompressAI's ``GaussianConditional.build_indexes``). A NaN, which only a
    decoder gone wrong can see, counts as the largest scale.

    Args:
        scales: Standard deviations, any shape, float.
        scale_table: (n,) ascending standard deviations.

    Returns:
        uint8 of the shape of `scales`, in 0..n-1.

    Raises:
        ValueError: The table has more than 256 entries, or none.
    """
    if not 1 <= scale_table.numel() <= 256:
        raise ValueError(f"a scale table holds 1 to 256 entries, not {scale_table.numel()}")
    # Entry i is below the scale exactly when the scale's left insertion point is past i.
    return torch.bucketize(scales, scale_table[:-1], right=False).to(torch.uint8)
