"""WACNN: the convolutional model with window attention.

Zou, Song and Zhang, "The Devil Is in the Details: Window-based Attention for
Image Compression", CVPR 2022, figures 3 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import lcm
from typing import Any

import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from compressai.layers import GDN, conv1x1
from compressai.models.utils import conv, deconv
from torch import Tensor, nn

from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.gains import gain_arguments
from lic_fast.models.layers import (
    WindowAttention,
    hyper_analysis,
    hyper_analysis_channels,
    hyper_synthesis,
    hyper_synthesis_channels,
    residual_units,
    slice_network_arguments,
    slice_networks,
)

__all__ = ["WACNN", "WindowAttentionModule"]


class WACNN(SliceCompressionModel):
    """Convolutions with GDN, window attention at two scales, channel-slice entropy model.

    Args:
        N: Channels of the transforms.
        M: Channels of the latents y.
        num_slices: Slices that the latents divide into.
        max_support_slices: Slices, from the first, on which later ones depend.
        hyper_channels: Output widths of h_a's five convolutions; the last is
            the number of channels of z.
        hyper_synthesis_channels: Those of h_mean_s and h_scale_s, where the
            second and the fourth are sub-pixel convolutions.
        entropy_channels: Widths inside the slice networks.
        window_size: Window of the attention between N channels, and between M.
        num_heads: Heads of both.
        qualities: Anchors of the gains by which one model codes at many rates, at least 2; 0 for a
            model of one rate, without gains, as the original is.

    Raises:
        ValueError: The widths do not fit each other.
    """

    architecture = "WACNN"

    def __init__(
        self,
        N: int = 192,
        M: int = 320,
        *,
        num_slices: int = 10,
        max_support_slices: int = 5,
        hyper_channels: Sequence[int] = (320, 288, 256, 224, 192),
        hyper_synthesis_channels: Sequence[int] = (192, 224, 256, 288, 320),
        entropy_channels: Sequence[int] = (224, 176, 128, 64),
        window_size: tuple[int, int] = (8, 4),
        num_heads: int = 8,
        qualities: int = 0,
    ) -> None:
        super().__init__()
        self.arguments = {
            "N": N,
            "M": M,
            "num_slices": num_slices,
            "max_support_slices": max_support_slices,
            "hyper_channels": tuple(hyper_channels),
            "hyper_synthesis_channels": tuple(hyper_synthesis_channels),
            "entropy_channels": tuple(entropy_channels),
            "window_size": tuple(window_size),
            "num_heads": num_heads,
            "qualities": qualities,
        }
        self.N = N
        self.M = M
        self.window_size = tuple(window_size)
        fine, coarse = window_size

        self.g_a = nn.Sequential(
            conv(3, N),
            GDN(N),
            conv(N, N),
            GDN(N),
            WindowAttentionModule(N, fine, num_heads),
            conv(N, N),
            GDN(N),
            conv(N, M),
            WindowAttentionModule(M, coarse, num_heads),
        )
        self.g_s = nn.Sequential(
            WindowAttentionModule(M, coarse, num_heads),
            deconv(M, N),
            GDN(N, inverse=True),
            deconv(N, N),
            GDN(N, inverse=True),
            WindowAttentionModule(N, fine, num_heads),
            deconv(N, N),
            GDN(N, inverse=True),
            deconv(N, 3),
        )

        self.h_a = hyper_analysis(M, hyper_channels)
        self.h_mean_s = hyper_synthesis(hyper_channels[-1], hyper_synthesis_channels)
        self.h_scale_s = hyper_synthesis(hyper_channels[-1], hyper_synthesis_channels)
        self.num_slices = num_slices
        self.max_support_slices = max_support_slices
        self.cc_mean_transforms, self.cc_scale_transforms, self.lrp_transforms = slice_networks(
            hyper_synthesis_channels[-1], M, num_slices, max_support_slices, entropy_channels
        )
        self.entropy_bottleneck = EntropyBottleneck(hyper_channels[-1])
        self.gaussian_conditional = GaussianConditional(None)
        self._make_gains(qualities, M)

    @property
    def multiple(self) -> int:
        """Whole windows at both scales, and whole elements of z."""
        fine, coarse = self.window_size
        return lcm(self.z_downsampling, 4 * fine, 16 * coarse)

    def analysis(self, x: Tensor) -> Tensor:
        """g_a."""
        return self.g_a(x)

    def synthesis(self, y_hat: Tensor) -> Tensor:
        """g_s."""
        return self.g_s(y_hat)

    @classmethod
    def arguments_from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
        """See :class:`SliceCompressionModel`."""
        tables = [state_dict[f"g_a.{i}.conv_b.0.attn.relative_position_bias_table"] for i in (4, 8)]
        return {
            "N": state_dict["g_a.0.weight"].shape[0],
            "M": state_dict["g_a.7.weight"].shape[0],
            "hyper_channels": hyper_analysis_channels(state_dict),
            "hyper_synthesis_channels": hyper_synthesis_channels(state_dict),
            "window_size": tuple((round(table.shape[0] ** 0.5) + 1) // 2 for table in tables),
            "num_heads": tables[0].shape[1],
            **slice_network_arguments(state_dict),
            **gain_arguments(state_dict),
        }


class WindowAttentionModule(nn.Module):
    """Attention module whose mask comes from shifted-window attention.

    Figure 5 of the paper; the windows are shifted by half their size, although
    the original's class is called ``Win_noShift_Attention``.

    Args:
        dim: Number of channels.
        window_size: Side of the windows.
        num_heads: Number of heads.
    """

    def __init__(self, dim: int, window_size: int, num_heads: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.conv_a = nn.Sequential(*residual_units(dim, nn.GELU))
        self.conv_b = nn.Sequential(
            ResidualWindowAttention(dim, window_size, num_heads),
            *residual_units(dim, nn.GELU),
            conv1x1(dim, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return self.conv_a(x) * torch.sigmoid(self.conv_b(x)) + x


class ResidualWindowAttention(nn.Module):
    """Shifted-window attention on (B, C, H, W) with a skip."""

    def __init__(self, dim: int, window_size: int, num_heads: int) -> None:
        super().__init__()
        self.attn = WindowAttention(dim, window_size, num_heads, shift=window_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        tokens = x.permute(0, 2, 3, 1)
        return (tokens + self.attn(tokens)).permute(0, 3, 1, 2)
