"""Layers that more than one model uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from compressai.layers import conv1x1, conv3x3, subpel_conv3x3
from torch import Tensor, nn

from lic_fast import ops

__all__ = [
    "WindowAttention",
    "hyper_analysis",
    "hyper_analysis_channels",
    "hyper_synthesis",
    "hyper_synthesis_channels",
    "residual_units",
    "sequence",
    "slice_network",
    "slice_network_arguments",
    "slice_networks",
    "support_channels",
]


class WindowAttention(nn.Module):
    """Window attention with its linear maps, as STF and WACNN have it.

    Liu et al., "Swin Transformer", ICCV 2021, section 3.2.

    Args:
        dim: Number C of channels.
        window_size: Side of the windows in tokens.
        num_heads: Number of heads that C divides into.
        shift: Tokens by which the windows are shifted.
        qkv_bias: Whether the map to queries, keys and values has a bias.
        qk_scale: Factor of their products, (C / num_heads)^-1/2 if None.
        attn_drop: Dropout of attention weights.
        proj_drop: Dropout of the output.
    """

    def __init__(
        self,
        dim: int,
        window_size: int,
        num_heads: int,
        shift: int = 0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{dim} channels do not divide into {num_heads} heads")
        self.window_size = window_size
        self.shift = shift
        self.qk_scale = qk_scale
        self.attn_drop = attn_drop
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window_size - 1) ** 2, num_heads)
        )
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        # Of no use here, but an entry of the published state dicts.
        self.register_buffer("relative_position_index", ops.relative_position_index(window_size))
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C). Tokens that complete windows are zero, and take part."""
        height, width = x.shape[1:3]
        below, right = -height % self.window_size, -width % self.window_size
        attended = ops.window_attention(
            self.qkv(F.pad(x, (0, 0, 0, right, 0, below))),
            self.relative_position_bias_table,
            window_size=self.window_size,
            shift=self.shift,
            scale=self.qk_scale,
            dropout=self.attn_drop if self.training else 0.0,
        )
        return self.proj_drop(self.proj(attended[:, :height, :width]))


def _with_gelu(layers: Sequence[nn.Module]) -> list[nn.Module]:
    """The layers with a GELU between each two."""
    between = [part for layer in layers for part in (layer, nn.GELU())]
    return between[:-1]


def hyper_analysis(in_channels: int, channels: Sequence[int]) -> nn.Sequential:
    """h_a of STF and WACNN: five 3x3 convolutions, stride 2 at the third and the fifth."""
    pairs = pairwise([in_channels, *channels])
    strides = (1, 1, 2, 1, 2)
    convolutions = [conv3x3(a, b, s) for (a, b), s in zip(pairs, strides, strict=True)]
    return nn.Sequential(*_with_gelu(convolutions))


def hyper_synthesis(in_channels: int, channels: Sequence[int]) -> nn.Sequential:
    """h_mean_s and h_scale_s of STF and WACNN: sub-pixel steps at the second and the fourth."""
    pairs = pairwise([in_channels, *channels])
    convolutions = [
        subpel_conv3x3(a, b, 2) if i in (1, 3) else conv3x3(a, b) for i, (a, b) in enumerate(pairs)
    ]
    return nn.Sequential(*_with_gelu(convolutions))


def slice_network(in_channels: int, channels: Sequence[int], out_channels: int) -> nn.Sequential:
    """3x3 convolutions with GELU between: the mean, scale or LRP network of a slice."""
    widths = [in_channels, *channels, out_channels]
    convolutions = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)]
    return nn.Sequential(*_with_gelu(convolutions))


def support_channels(
    hyper_channels: int, latent_channels: int, num_slices: int, max_support_slices: int
) -> list[int]:
    """Channels that each slice's mean and scale networks read; see :func:`slice_networks`."""
    if num_slices < 1 or latent_channels % num_slices:
        raise ValueError(
            f"{latent_channels} latent channels do not divide into {num_slices} slices"
        )
    width = latent_channels // num_slices
    limit = num_slices if max_support_slices < 0 else max_support_slices
    return [hyper_channels + width * min(i, limit) for i in range(num_slices)]


def slice_networks(
    hyper_channels: int,
    latent_channels: int,
    num_slices: int,
    max_support_slices: int,
    entropy_channels: Sequence[int],
) -> tuple[nn.ModuleList, nn.ModuleList, nn.ModuleList]:
    """Mean, scale and LRP networks of every slice.

    Args:
        hyper_channels: Width of the hyperprior's share of their input.
        latent_channels: Channels M of the latents.
        num_slices: Slices that M divides into.
        max_support_slices: Slices, from the first, on which later ones depend;
            negative for all.
        entropy_channels: Widths inside the networks.

    Raises:
        ValueError: M does not divide into the slices.
    """
    inputs = support_channels(hyper_channels, latent_channels, num_slices, max_support_slices)
    width = latent_channels // num_slices

    def networks(own: int) -> nn.ModuleList:
        return nn.ModuleList(slice_network(n + own, entropy_channels, width) for n in inputs)

    # LRP also reads the slice itself.
    return networks(0), networks(0), networks(width)


class ResidualUnit(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around half the channels, and a skip.

    Of the attention module of Cheng et al., "Learned Image Compression with
    Discretized Gaussian Mixture Likelihoods and Attention Modules", CVPR 2020,
    figure 4: with ReLU there and in TCM, with GELU in WACNN.

    Args:
        channels: Channels of input and output.
        activation: Class of the activations: between the convolutions and after the sum.
    """

    def __init__(self, channels: int, activation: type[nn.Module]) -> None:
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            conv1x1(channels, half),
            activation(),
            conv3x3(half, half),
            activation(),
            conv1x1(half, channels),
        )
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return self.activation(self.conv(x) + x)


def residual_units(channels: int, activation: type[nn.Module]) -> list[nn.Module]:
    """The three residual units that both branches of an attention module have."""
    return [ResidualUnit(channels, activation) for _ in range(3)]


# Widths read back from a state dict.


def sequence(entries: Mapping[str, Tensor], pattern: str) -> Iterator[Tensor]:
    """Entries named by `pattern` with 0, 1, 2, ... for its ``{}``, up to the first missing."""
    i = 0
    while (name := pattern.format(i)) in entries:
        yield entries[name]
        i += 1


def hyper_analysis_channels(entries: Mapping[str, Tensor]) -> tuple[int, ...]:
    """`channels` of :func:`hyper_analysis`."""
    return tuple(entries[f"h_a.{i}.weight"].shape[0] for i in (0, 2, 4, 6, 8))


def hyper_synthesis_channels(entries: Mapping[str, Tensor]) -> tuple[int, ...]:
    """`channels` of :func:`hyper_synthesis`."""
    return tuple(
        entries[f"h_mean_s.{i}.0.weight"].shape[0] // 4
        if i in (2, 6)
        else entries[f"h_mean_s.{i}.weight"].shape[0]
        for i in (0, 2, 4, 6, 8)
    )


def slice_network_arguments(entries: Mapping[str, Tensor]) -> dict[str, Any]:
    """`num_slices`, `max_support_slices` and `entropy_channels`."""
    inputs = [weight.shape[1] for weight in sequence(entries, "cc_mean_transforms.{}.0.weight")]
    outputs: list[int] = []
    while (name := f"cc_mean_transforms.0.{2 * len(outputs)}.weight") in entries:
        outputs.append(entries[name].shape[0])
    *entropy_channels, slice_channels = outputs
    # The first slice has no support.
    support = (max(inputs) - inputs[0]) // slice_channels
    # Where every slice supports all later ones the limit cannot be seen, nor matters.
    limit = len(inputs) if support == len(inputs) - 1 else support
    return {
        "num_slices": len(inputs),
        "max_support_slices": limit,
        "entropy_channels": tuple(entropy_channels),
    }
