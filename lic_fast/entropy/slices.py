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

from lic_fast import engine
from lic_fast.entropy.hoisted_slices import hoisted_slices
from lic_fast.entropy.integer.slices import integer_slices, run_integer_slices
from lic_fast.ops import add_residual
from lic_fast.ops.exact_add_residual import exact_add_residual

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
        scale_attention: Applied to the input of g (TCM), or None, as mean_attention is.
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

    def __post_init__(self) -> None:
        if (self.mean_attention is None) != (self.scale_attention is None):
            raise ValueError("there must be attention for means and scales, or for neither")

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
        return _joined([decoded for decoded, _, _ in self.steps])

    @property
    def means(self) -> Tensor:
        """Means."""
        return _joined([mean for _, mean, _ in self.steps])

    @property
    def scales(self) -> Tensor:
        """Scales, as the networks gave them, not yet clamped."""
        return _joined([scale for _, _, scale in self.steps])

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
        found = run_integer_slices(integer, latent_means, latent_scales, quantize)
        return SliceLatents([found])
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
    return partial(_run_step, networks, latent_means, latent_scales)


def _run_step(
    networks: SliceNetworks,
    latent_means: Tensor,
    latent_scales: Tensor,
    step: range,
    support: list[Tensor],
    quantize: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Predictions, symbols and residuals, which are a program each where they may be."""
    # Networks of integers are no programs of the engine.
    run = _by_modules if networks.exact else engine.run_networks
    kinds = [networks.mean, networks.scale]
    attended = False
    if networks.mean_attention is not None and networks.scale_attention is not None:
        kinds += [networks.mean_attention, networks.scale_attention]
        attended = True
    predicting = [kind[i] for kind in kinds for i in step]
    predict = _predict_attended if attended else _predict
    mean, scale, *supports = run(predict, predicting, latent_means, latent_scales, *support)
    quantized = quantize(mean, scale)
    if not attended:
        supports = [latent_means, *support]
    predict_residual = _attended_residual if attended else _residual
    (residual,) = run(predict_residual, [networks.lrp[i] for i in step], quantized, *supports)
    if networks.exact:
        return exact_add_residual(quantized, residual)
    # Under autocast the networks give another type than the latents have.
    return add_residual(quantized, residual.to(quantized.dtype)).to(latent_means.dtype)


def _by_modules(function: engine.Function, networks: Sequence[nn.Module], *inputs: Tensor) -> Any:
    return function(networks, *inputs)


# What the networks of a step compute: functions of modules and tensors, as the engine takes them.


def _predict(
    networks: Sequence[nn.Module], means: Tensor, scales: Tensor, *support: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and scale of k slices, by k mean and k scale networks."""
    count = len(networks) // 2
    mean_support, scale_support = _joined([means, *support]), _joined([scales, *support])
    mean = _joined([network(mean_support) for network in networks[:count]])
    return mean, _joined([network(scale_support) for network in networks[count:]])


def _predict_attended(
    networks: Sequence[nn.Module], means: Tensor, scales: Tensor, *support: Tensor
) -> tuple[Tensor, ...]:
    """As :func:`_predict`, with attention before each; and what the mean networks are given."""
    count = len(networks) // 4
    mean, scale, mean_attention, scale_attention = (
        networks[i * count : (i + 1) * count] for i in range(4)
    )
    mean_support, scale_support = _joined([means, *support]), _joined([scales, *support])
    attended = [attention(mean_support) for attention in mean_attention]
    means_of = [network(x) for network, x in zip(mean, attended, strict=True)]
    scales_of = [
        network(attention(scale_support))
        for network, attention in zip(scale, scale_attention, strict=True)
    ]
    return _joined(means_of), _joined(scales_of), *attended


def _residual(networks: Sequence[nn.Module], quantized: Tensor, *support: Tensor) -> tuple[Tensor]:
    """The residuals of k slices, by k networks, before the hyperbolic tangent."""
    parts = quantized.chunk(len(networks), 1)
    pairs = zip(networks, parts, strict=True)
    return (_joined([network(_joined([*support, part])) for network, part in pairs]),)


def _attended_residual(
    networks: Sequence[nn.Module], quantized: Tensor, *supports: Tensor
) -> tuple[Tensor]:
    """As :func:`_residual`, with a support of its own for each slice."""
    parts = quantized.chunk(len(networks), 1)
    triples = zip(networks, supports, parts, strict=True)
    return (_joined([network(_joined([support, part])) for network, support, part in triples]),)


def _joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, 1)
