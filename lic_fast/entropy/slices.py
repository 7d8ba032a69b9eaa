r"""The channel-slice entropy model: mean, scale and residual of one slice after another.

Minnen and Singh, "Channel-wise Autoregressive Entropy Models for Learned Image
Compression", ICIP 2020, sections 3.1 and 3.2, as STF, WACNN and TCM use it. For
slice i with support :math:`S_i`, the first :math:`\min(i, m)` decoded slices,

.. math::
    \mu_i &= f_i([h_\mu, S_i]), \quad \sigma_i = g_i([h_\sigma, S_i]) \\
    s_i &= \mathrm{round}(y_i - \mu_i) \\
    \hat y_i &= s_i + \mu_i + \tfrac12 \tanh(l_i([h_\mu, S_i, s_i + \mu_i]))

Slices m and beyond see the same support and do not wait for each other: they
are one *step*, in which their symbols are coded in one call. STF's 12 slices
are 7 steps, WACNN's 10 are 6.

Everything here is entropy path: a decoder must arrive at the encoder's values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lic_fast.entropy.hoisted_slices import hoisted_slices
from lic_fast.entropy.integer.slices import integer_slices
from lic_fast.entropy.merged_slices import may_merge, merged_step
from lic_fast.ops import add_residual, row_products, winograd
from lic_fast.ops.copies import channels_last, stacked
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.exact_add_residual import exact_add_residual
from lic_fast.ops.plain import plain_network
from lic_fast.ops.threads import may_run_side_by_side, side_by_side

__all__ = ["OverlappingQuantizer", "Quantizer", "SliceLatents", "SliceNetworks", "run_slices"]

Quantizer = Callable[[slice, Tensor, Tensor], Tensor]
"""(channels of y, mean, scale) to symbols + mean: rounds in an encoder, reads in a decoder."""


@runtime_checkable
class OverlappingQuantizer(Protocol):
    """A :data:`Quantizer` that has to wait, and lets the device compute in the meantime."""

    def overlapped(
        self, channels: slice, mean: Tensor, scale: Tensor, meanwhile: Callable[[], None]
    ) -> Tensor:
        """As the quantizer; calls `meanwhile` once, before it waits."""


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
        exact: Whether the networks compute the same on every machine, so that what
            stands between them must too.
    """

    mean: _Networks
    scale: _Networks
    lrp: _Networks
    max_support_slices: int
    mean_attention: _Networks | None = None
    scale_attention: _Networks | None = None
    exact: bool = False

    def support(self, decoded: list[Tensor]) -> list[Tensor]:
        """The slices among those decoded that the next one may depend on."""
        return decoded if self.max_support_slices < 0 else decoded[: self.max_support_slices]

    def steps(self) -> list[range]:
        """The slices of each step, in order."""
        slices = len(self.mean)
        alone = slices - 1 if self.max_support_slices < 0 else self.max_support_slices
        alone = min(alone, slices - 1)
        return [*(range(i, i + 1) for i in range(alone)), range(alone, slices)]


@dataclass(frozen=True)
class SliceLatents:
    """Latents of all slices, each (B, M, H, W), put together when they are asked for.

    Attributes:
        steps: Decoded latents, means and scales of each step.
    """

    steps: Sequence[tuple[Tensor, Tensor, Tensor]]

    @property
    def y_hat(self) -> Tensor:
        """Decoded latents."""
        return stacked([decoded for decoded, _, _ in self.steps])

    @property
    def means(self) -> Tensor:
        """Means."""
        return stacked([mean for _, mean, _ in self.steps])

    @property
    def scales(self) -> Tensor:
        """Scales, as the networks gave them, not yet clamped."""
        return stacked([scale for _, _, scale in self.steps])

    @classmethod
    def batched(cls, images: Sequence[SliceLatents]) -> SliceLatents:
        """Those of several images, one after another."""
        together = zip(*(image.steps for image in images), strict=True)
        return cls([_stack(*parts) for parts in together])


def _stack(*parts: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    decoded, mean, scale = (torch.cat(kind) for kind in zip(*parts, strict=True))
    return decoded, mean, scale


def run_slices(
    networks: SliceNetworks, latent_means: Tensor, latent_scales: Tensor, quantize: Quantizer
) -> SliceLatents:
    """Runs the slices, step by step.

    Args:
        networks: The networks of n slices of M / n channels.
        latent_means: (B, M, H, W), the hyperprior's share of the means.
        latent_scales: (B, M, H, W), the hyperprior's share of the scales.
        quantize: Gives symbols + mean of a step's slices, one after another in
            (B, channels, H, W) like the mean and the scale it is called with.
            The scale is as the network gave it, not yet clamped.
    """
    if (integer := integer_slices(networks, latent_means)) is not None:
        means, scales = (x.detach().permute(0, 2, 3, 1) for x in (latent_means, latent_scales))
        return SliceLatents([integer.run(means.numpy(), scales.numpy(), quantize)])
    run_step = _step_of(networks, latent_means, latent_scales)
    y_hat: list[Tensor] = []
    done: list[tuple[Tensor, Tensor, Tensor]] = []
    first = 0
    for step in networks.steps():
        seen: list[tuple[Tensor, Tensor]] = []

        def quantize_step(
            mean: Tensor,
            scale: Tensor,
            meanwhile: Callable[[], None] | None = None,
            first: int = first,
            seen: list[Any] = seen,
        ) -> Tensor:
            seen.append((mean, scale))
            channels = slice(first, first + mean.shape[1])
            if meanwhile is None:
                return quantize(channels, mean, scale)
            if isinstance(quantize, OverlappingQuantizer):
                return quantize.overlapped(channels, mean, scale, meanwhile)
            meanwhile()
            return quantize(channels, mean, scale)

        decoded = run_step(step, networks.support(y_hat), quantize_step)
        y_hat.extend(decoded.chunk(len(step), 1))
        done.append((decoded, *seen[0]))
        first += decoded.shape[1]
    return SliceLatents(done)


_Step = Callable[[range, list[Tensor], Callable[..., Tensor]], Tensor]
"""(slices, support, quantize) to the decoded slices."""


def _step_of(networks: SliceNetworks, latent_means: Tensor, latent_scales: Tensor) -> _Step:
    """The fastest way to run the steps of an image."""
    if (hoisted := hoisted_slices(networks, latent_means)) is not None:
        return hoisted.run(networks, latent_means, latent_scales)
    if may_merge(networks, latent_means):
        return partial(_merged_step, networks, latent_means, latent_scales)
    beside = _may_run_side_by_side(networks, latent_means)
    return partial(_plain_step, networks, latent_means, latent_scales, beside)


def _plain_step(
    networks: SliceNetworks,
    latent_means: Tensor,
    latent_scales: Tensor,
    beside: bool,
    step: range,
    support: list[Tensor],
    quantize: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The definition: network after network, or mean and scale beside each other."""
    mean_supports, means, scales = [], [], []
    for i in step:
        mean_branch = partial(
            _branch, networks.mean[i], networks.mean_attention, i, [latent_means, *support]
        )
        scale_branch = partial(
            _branch, networks.scale[i], networks.scale_attention, i, [latent_scales, *support]
        )
        (mean_support, mean), (_, scale) = (
            side_by_side(mean_branch, scale_branch) if beside else (mean_branch(), scale_branch())
        )
        mean_supports.append(mean_support)
        means.append(mean)
        scales.append(scale)
    quantized = _like(latent_means, quantize(stacked(means), stacked(scales)))
    residuals = [
        networks.lrp[i](stacked([mean_support, part]))
        for i, mean_support, part in zip(
            step, mean_supports, quantized.chunk(len(step), 1), strict=True
        )
    ]
    residual = stacked(residuals)
    if networks.exact:
        return exact_add_residual(quantized, residual)
    # Under autocast the networks give another type than the latents have.
    return _like(latent_means, add_residual(quantized, residual.to(quantized.dtype)))


def _branch(
    network: nn.Module, attention: _Networks | None, i: int, support: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """What the networks of slice i are given, and what this one makes of it."""
    x = stacked(support)
    if attention is not None:
        x = attention[i](x)
    return x, network(x)


def _may_run_side_by_side(networks: SliceNetworks, latents: Tensor) -> bool:
    """Whether mean and scale may: on the fast paths of csrc alone, of plain networks."""
    if networks.exact or not (fast_on_cpu(latents) and may_run_side_by_side()):
        return False
    kinds = (networks.mean, networks.scale, networks.mean_attention, networks.scale_attention)
    roots = [network for kind in kinds for network in kind or ()]
    if not plain_network(*roots):
        return False
    every = [module for network in roots for module in network.modules()]
    # Hundreds of them: what need not be asked is not.
    parameters = (p for module in every for p in module._parameters.values())
    if torch.is_grad_enabled() and not fast_on_cpu(latents, *parameters):
        return False
    return all(_is_csrc(layer, latents) for layer in every if isinstance(layer, nn.Conv2d))


def _is_csrc(layer: nn.Conv2d, latents: Tensor) -> bool:
    """Whether a convolution on maps of the latents' size is neither torch's nor oneDNN's."""
    if type(layer) is nn.Conv2d:
        return False
    if layer.kernel_size == (1, 1):
        return row_products.usable(latents)
    padding = layer.padding if isinstance(layer.padding, tuple) else (0, 0)
    return winograd.fits(latents, layer.weight, layer.stride, padding, layer.groups)


def _merged_step(
    networks: SliceNetworks,
    latent_means: Tensor,
    latent_scales: Tensor,
    step: range,
    support: list[Tensor],
    quantize: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """All networks of a step as grouped convolutions; equal to the definition up to rounding."""
    merged = merged_step(networks, step, latent_means)
    mean_support = stacked([latent_means, *support])
    mean, scale = merged.mean_and_scale(mean_support, stacked([latent_scales, *support]))
    quantized = _like(latent_means, quantize(mean, scale))
    return _like(latent_means, merged.decoded(mean_support, quantized))


def _like(latents: Tensor, x: Tensor) -> Tensor:
    """X with channels last if the latents are: what is stacked with them then stays so."""
    last = latents.is_contiguous(memory_format=torch.channels_last)
    return channels_last(x) if last else x
