r"""The channel-slice entropy model: mean, scale and residual of one slice after another.

Minnen and Singh, "Channel-wise Autoregressive Entropy Models for Learned Image
Compression", ICIP 2020, sections 3.1 and 3.2, as STF, WACNN and TCM use it. For
slice i with support :math:`S_i`, the first :math:`\min(i, m)` decoded slices,

.. math::
    \mu_i &= f_i([h_\mu, S_i]), \quad \sigma_i = g_i([h_\sigma, S_i]) \\
    s_i &= \mathrm{round}(y_i - \mu_i) \\
    \hat y_i &= s_i + \mu_i + \tfrac12 \tanh(l_i([h_\mu, S_i, s_i + \mu_i]))

Everything here is entropy path: a decoder must arrive at the encoder's values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Quantizer", "SliceLatents", "SliceNetworks", "run_slices"]

Quantizer = Callable[[int, Tensor, Tensor], Tensor]
"""(slice index, mean, scale) to symbols + mean: rounds in an encoder, reads in a decoder."""


_Networks = Sequence[nn.Module] | nn.ModuleList


@dataclass(frozen=True)
class SliceNetworks:
    """The networks of the slices, one entry per slice.

    Attributes:
        mean: f, from the hyperprior's means and the support to the mean.
        scale: g, from the hyperprior's scales and the support to the scale.
        lrp: l, latent residual prediction, from f's input and symbols + mean.
        max_support_slices: m, or negative for all earlier slices.
        mean_attention: Applied to the input of f and l (TCM), or None.
        scale_attention: Applied to the input of g (TCM), or None.
    """

    mean: _Networks
    scale: _Networks
    lrp: _Networks
    max_support_slices: int
    mean_attention: _Networks | None = None
    scale_attention: _Networks | None = None

    def support(self, decoded: list[Tensor]) -> list[Tensor]:
        """The slices among those decoded that the next one may depend on."""
        return decoded if self.max_support_slices < 0 else decoded[: self.max_support_slices]


class SliceLatents(NamedTuple):
    """Latents of all slices, each (B, M, H, W)."""

    y_hat: Tensor
    means: Tensor
    scales: Tensor


def run_slices(
    networks: SliceNetworks, latent_means: Tensor, latent_scales: Tensor, quantize: Quantizer
) -> SliceLatents:
    """Runs the slices in order.

    Args:
        networks: The networks of n slices of M / n channels.
        latent_means: (B, M, H, W), the hyperprior's share of the means.
        latent_scales: (B, M, H, W), the hyperprior's share of the scales.
        quantize: Gives symbols + mean of a slice, (B, M / n, H, W) like the mean
            and the scale it is called with. The scale is as the network gave
            it, not yet clamped.
    """
    y_hat: list[Tensor] = []
    means: list[Tensor] = []
    scales: list[Tensor] = []
    for i in range(len(networks.mean)):
        support = networks.support(y_hat)
        mean_support = torch.cat([latent_means, *support], 1)
        if networks.mean_attention is not None:
            mean_support = networks.mean_attention[i](mean_support)
        mean = networks.mean[i](mean_support)

        scale_support = torch.cat([latent_scales, *support], 1)
        if networks.scale_attention is not None:
            scale_support = networks.scale_attention[i](scale_support)
        scale = networks.scale[i](scale_support)

        quantized = quantize(i, mean, scale)
        residual = networks.lrp[i](torch.cat([mean_support, quantized], 1))
        y_hat.append(quantized + 0.5 * torch.tanh(residual))
        means.append(mean)
        scales.append(scale)
    return SliceLatents(torch.cat(y_hat, 1), torch.cat(means, 1), torch.cat(scales, 1))
