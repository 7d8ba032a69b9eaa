"""Latents and hyperlatents as models hand them to the entropy path."""

from __future__ import annotations

import torch
from compressai.entropy_models import EntropyBottleneck
from torch import Tensor

from lic_fast.entropy import Quantizer
from lic_fast.ops import round_ste
from lic_fast.ops.plain import plain

__all__ = ["image_of", "likelihoods_of", "rounder", "unmixed"]


def likelihoods_of(bottleneck: EntropyBottleneck, z: Tensor) -> Tensor:
    """What ``bottleneck(z)`` gives as likelihoods.

    It permutes z by a tensor of axes, which torch.compile cannot trace. Its products of
    matrices are not for autocast: a density in bfloat16 is none.
    """
    if torch.is_autocast_enabled(z.device.type):
        with torch.autocast(z.device.type, enabled=False):
            return likelihoods_of(bottleneck, z.float())
    if not plain(EntropyBottleneck, bottleneck):
        _, found = bottleneck(z)
        return found
    values = z.transpose(0, 1)
    mode = "noise" if bottleneck.training else "dequantize"
    rounded = bottleneck.quantize(
        values.reshape(len(values), 1, -1), mode, bottleneck._get_medians()
    )
    likelihoods, _, _ = bottleneck._likelihood(rounded)
    if bottleneck.use_likelihood_bound:
        likelihoods = bottleneck.likelihood_lower_bound(likelihoods)
    return likelihoods.reshape(values.shape).transpose(0, 1).contiguous()


def unmixed(latents: Tensor) -> Tensor:
    """Latents in float32 where autocast made them of another type.

    They are about to be rounded to integers, which bfloat16 does not hold beyond 256.
    """
    return latents.float() if torch.is_autocast_enabled(latents.device.type) else latents


def image_of(batch: Tensor, i: int) -> Tensor:
    """One image of a batch, laid out in memory as a decoder has it.

    Convolutions round differently in channels-last order, which a caller's
    input may bring along.
    """
    return batch[i : i + 1].clone(memory_format=torch.contiguous_format)


def rounder(y: Tensor) -> Quantizer:
    """Rounds these latents, (B, M, H, W), slice by slice, with a straight-through gradient."""

    def quantize(channels: slice, mean: Tensor, scale: Tensor) -> Tensor:
        return round_ste(y[:, channels] - mean) + mean

    return quantize
