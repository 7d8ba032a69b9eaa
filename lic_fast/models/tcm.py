"""TCM: convolutions and transformers side by side.

Liu, Sun and Katto, "Learned Image Compression with Mixed Transformer-CNN
Architectures", CVPR 2023, figures 2 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import lcm
from typing import Any

import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from compressai.layers import conv1x1, conv3x3, subpel_conv3x3
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from lic_fast import ops
from lic_fast.entropy import SliceNetworks
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.gains import gain_arguments
from lic_fast.models.layers import (
    residual_units,
    slice_network_arguments,
    slice_networks,
    support_channels,
)
from lic_fast.models.residual_blocks import (
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualBlockWithStride,
)

__all__ = ["TCM"]


class TCM(SliceCompressionModel):
    """Mixed transformer-CNN transforms, channel-slice entropy model with attention.

    Args:
        config: Blocks of the three stages of g_a, then of the three of g_s. The
            first number is also that of h_a, the fourth that of h_mean_s and
            h_scale_s.
        head_dim: Size of the attention heads of each of the six stages.
        drop_path_rate: Stochastic depth of the last block, linear from 0 at the first.
        N: Channels of each half, convolutional and transformer, of a block.
        M: Channels of the latents y.
        num_slices: Slices that the latents divide into.
        max_support_slices: Slices, from the first, on which later ones depend.
        hyper_channels: Channels of the hyperlatents z.
        window_size: Side of the attention's windows in the transforms and the
            slices' attention.
        hyper_window_size: The same in the hyper transforms.
        hyper_head_dim: Size of the attention heads there.
        entropy_channels: Widths inside the slice networks.
        attention_channels: Channels of the slices' attention.
        attention_head_dim: Size of its heads.
        qualities: Anchors of the gains by which one model codes at many rates, at least 2; 0 for a
            model of one rate, without gains, as the original is.

    Raises:
        ValueError: The widths do not fit each other.
    """

    architecture = "TCM"

    def __init__(
        self,
        config: Sequence[int] = (2, 2, 2, 2, 2, 2),
        head_dim: Sequence[int] = (8, 16, 32, 32, 16, 8),
        drop_path_rate: float = 0.0,
        N: int = 128,
        M: int = 320,
        num_slices: int = 5,
        max_support_slices: int = 5,
        *,
        hyper_channels: int = 192,
        window_size: int = 8,
        hyper_window_size: int = 4,
        hyper_head_dim: int = 32,
        entropy_channels: Sequence[int] = (224, 128),
        attention_channels: int = 128,
        attention_head_dim: int = 16,
        qualities: int = 0,
    ) -> None:
        super().__init__()
        if len(config) != 6 or len(head_dim) != 6:
            raise ValueError(
                "config and head_dim have one entry for each of six stages, "
                f"not {len(config)} and {len(head_dim)}"
            )
        self.arguments = {
            "config": tuple(config),
            "head_dim": tuple(head_dim),
            "N": N,
            "M": M,
            "num_slices": num_slices,
            "max_support_slices": max_support_slices,
            "hyper_channels": hyper_channels,
            "window_size": window_size,
            "hyper_window_size": hyper_window_size,
            "hyper_head_dim": hyper_head_dim,
            "entropy_channels": tuple(entropy_channels),
            "attention_channels": attention_channels,
            "attention_head_dim": attention_head_dim,
            "qualities": qualities,
        }
        self.config = tuple(config)
        self.head_dim = tuple(head_dim)
        self.N = N
        self.M = M
        self.window_size = window_size
        self.hyper_window_size = hyper_window_size
        drop_path = torch.linspace(0, drop_path_rate, sum(config)).tolist()

        def stage(i: int) -> list[nn.Module]:
            first = sum(config[:i])
            return [
                ConvTransBlock(
                    N, head_dim[i], window_size, drop_path[first + j], shifted=j % 2 == 1
                )
                for j in range(config[i])
            ]

        def hyper_stage(depth: int) -> list[nn.Module]:
            return [
                ConvTransBlock(N, hyper_head_dim, hyper_window_size, shifted=j % 2 == 1)
                for j in range(depth)
            ]

        self.g_a = nn.Sequential(
            ResidualBlockWithStride(3, 2 * N, 2),
            *stage(0),
            ResidualBlockWithStride(2 * N, 2 * N, 2),
            *stage(1),
            ResidualBlockWithStride(2 * N, 2 * N, 2),
            *stage(2),
            conv3x3(2 * N, M, stride=2),
        )
        self.g_s = nn.Sequential(
            ResidualBlockUpsample(M, 2 * N, 2),
            *stage(3),
            ResidualBlockUpsample(2 * N, 2 * N, 2),
            *stage(4),
            ResidualBlockUpsample(2 * N, 2 * N, 2),
            *stage(5),
            subpel_conv3x3(2 * N, 3, 2),
        )
        self.h_a = nn.Sequential(
            ResidualBlockWithStride(M, 2 * N, 2),
            *hyper_stage(config[0]),
            conv3x3(2 * N, hyper_channels, stride=2),
        )

        def hyper_synthesis() -> nn.Sequential:
            return nn.Sequential(
                ResidualBlockUpsample(hyper_channels, 2 * N, 2),
                *hyper_stage(config[3]),
                subpel_conv3x3(2 * N, M, 2),
            )

        self.h_mean_s = hyper_synthesis()
        self.h_scale_s = hyper_synthesis()

        self.num_slices = num_slices
        self.max_support_slices = max_support_slices
        widths = support_channels(M, M, num_slices, max_support_slices)
        self.cc_mean_transforms, self.cc_scale_transforms, self.lrp_transforms = slice_networks(
            M, M, num_slices, max_support_slices, entropy_channels
        )

        def attention() -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(SWAtten(width, attention_channels, attention_head_dim, window_size))
                for width in widths
            )

        self.atten_mean = attention()
        self.atten_scale = attention()
        self.entropy_bottleneck = EntropyBottleneck(hyper_channels)
        self.gaussian_conditional = GaussianConditional(None)
        self._make_gains(qualities, M)

    @property
    def multiple(self) -> int:
        """Whole windows at every scale, and whole elements of z."""
        return lcm(self.z_downsampling, 16 * self.window_size, 32 * self.hyper_window_size)

    def slice_networks(self) -> SliceNetworks:
        """The networks of the slices, with their attention."""
        return replace(
            super().slice_networks(),
            mean_attention=self.atten_mean,
            scale_attention=self.atten_scale,
        )

    def analysis(self, x: Tensor) -> Tensor:
        """g_a."""
        return self.g_a(x)

    def synthesis(self, y_hat: Tensor) -> Tensor:
        """g_s."""
        return self.g_s(y_hat)

    @classmethod
    def arguments_from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
        """See :class:`SliceCompressionModel`."""
        N = state_dict["g_a.0.conv1.weight"].shape[0] // 2
        heads = "{}.{}.trans_block.msa.relative_position_params"
        config, head_dim = [], []
        for transform in ("g_a", "g_s"):
            i = 1
            for _ in range(3):
                first = i
                while heads.format(transform, i) in state_dict:
                    i += 1
                config.append(i - first)
                # The heads of a stage without blocks are of no consequence.
                table = state_dict.get(heads.format(transform, first))
                head_dim.append(8 if table is None else N // table.shape[0])
                i += 1
        channels = state_dict["h_a.0.conv1.weight"].shape[1]
        # A portable model has the tables of its entropy path transposed and beside other integers.
        tables = {
            name.removesuffix(".attention.table"): value
            for name, value in state_dict.items()
            if name.endswith(".msa.attention.table")
        }

        def heads_and_window(name: str) -> tuple[int, int] | None:
            """Of the attention `name`, None if there is none."""
            published = state_dict.get(f"{name}.relative_position_params")
            if published is not None:
                return published.shape[0], (published.shape[-1] + 1) // 2
            if name not in tables:
                return None
            positions, heads = tables[name].shape
            return heads, (round(positions**0.5) + 1) // 2

        slices = heads_and_window("atten_mean.0.0.non_local_block.block_1.msa")
        if slices is None:
            raise KeyError("atten_mean.0.0.non_local_block.block_1.msa.relative_position_params")
        attention_channels = state_dict["atten_mean.0.0.in_conv.weight"].shape[0]
        hyper = heads_and_window("h_a.1.trans_block.msa") or heads_and_window(
            "h_mean_s.1.trans_block.msa"
        )
        return {
            "config": tuple(config),
            "head_dim": tuple(head_dim),
            "N": N,
            "M": channels,
            "hyper_channels": state_dict["h_mean_s.0.subpel_conv.0.weight"].shape[1],
            "window_size": slices[1],
            "hyper_window_size": 4 if hyper is None else hyper[1],
            "hyper_head_dim": 32 if hyper is None else N // hyper[0],
            "attention_channels": attention_channels,
            "attention_head_dim": attention_channels // slices[0],
            **slice_network_arguments(state_dict),
            **gain_arguments(state_dict),
        }


class WMSA(nn.Module):
    """Window multi-head self-attention on (B, H, W, C), shifted by half a window or not."""

    def __init__(self, dim: int, head_dim: int, window_size: int, shifted: bool) -> None:
        super().__init__()
        if dim % head_dim:
            raise ValueError(f"{dim} channels do not divide into heads of {head_dim}")
        self.window_size = window_size
        self.shift = window_size // 2 if shifted else 0
        self.embedding_layer = nn.Linear(dim, 3 * dim)
        side = 2 * window_size - 1
        self.relative_position_params = nn.Parameter(torch.zeros(dim // head_dim, side, side))
        nn.init.trunc_normal_(self.relative_position_params, std=0.02)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C), of whole windows."""
        attended = ops.window_attention(
            self.embedding_layer(x),
            self.relative_position_params.flatten(1).T,
            window_size=self.window_size,
            shift=self.shift,
            mask_value=float("-inf"),
        )
        return self.linear(attended)


class Block(nn.Module):
    """Window attention and a two-layer perceptron, each behind a norm and with a skip."""

    def __init__(
        self, dim: int, head_dim: int, window_size: int, drop_path: float = 0.0, *, shifted: bool
    ) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(dim)
        self.msa = WMSA(dim, head_dim, window_size, shifted)
        self.drop_path = StochasticDepth(drop_path, "row")
        self.ln2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        x = x + self.drop_path(self.msa(self.ln1(x)))
        return x + self.drop_path(self.mlp(self.ln2(x)))


class ConvTransBlock(nn.Module):
    """Half the channels through a residual block, half through a transformer block.

    The paper's TCM block, figure 3.

    Args:
        dim: Channels of each half.
        head_dim: Size of the attention heads.
        window_size: Side of the windows.
        drop_path: Stochastic depth.
        shifted: Whether the windows are shifted.
    """

    def __init__(
        self, dim: int, head_dim: int, window_size: int, drop_path: float = 0.0, *, shifted: bool
    ) -> None:
        super().__init__()
        self.trans_block = Block(dim, head_dim, window_size, drop_path, shifted=shifted)
        self.conv1_1 = conv1x1(2 * dim, 2 * dim)
        self.conv1_2 = conv1x1(2 * dim, 2 * dim)
        self.conv_block = ResidualBlock(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2C, H, W) to (B, 2C, H, W)."""
        conv, trans = self.conv1_1(x).chunk(2, 1)
        conv = self.conv_block(conv) + conv
        trans = self.trans_block(trans.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.conv1_2(torch.cat([conv, trans], 1))


class SWAtten(nn.Module):
    """Attention module with a pair of Swin blocks before its mask branch.

    The paper's parameter-efficient Swin-attention module, figure 5. The
    original pads maps of which a side is at most one window, by an amount that
    gives whole windows for odd sides only, and then fails on the others and on
    the sizes of its two branches. Sides here are whole windows, one of them
    included, and there is no padding.

    Args:
        channels: Channels of input and output.
        inner_channels: Channels of the attention.
        head_dim: Size of the attention heads.
        window_size: Side of the windows.
    """

    def __init__(self, channels: int, inner_channels: int, head_dim: int, window_size: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*residual_units(inner_channels, nn.ReLU))
        self.conv_b = nn.Sequential(
            *residual_units(inner_channels, nn.ReLU), conv1x1(inner_channels, inner_channels)
        )
        self.gate = nn.Sigmoid()
        self.non_local_block = SwinBlock(inner_channels, head_dim, window_size)
        self.in_conv = conv1x1(channels, inner_channels)
        self.out_conv = conv1x1(inner_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        x = self.in_conv(x)
        values, logits = self.conv_a(x), self.conv_b(self.non_local_block(x))
        return self.out_conv(values * self.gate(logits) + x)


class SwinBlock(nn.Module):
    """A plain and a shifted block on (B, C, H, W)."""

    def __init__(self, dim: int, head_dim: int, window_size: int) -> None:
        super().__init__()
        self.block_1 = Block(dim, head_dim, window_size, shifted=False)
        self.block_2 = Block(dim, head_dim, window_size, shifted=True)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.block_2(self.block_1(x.permute(0, 2, 3, 1)))
        return x.permute(0, 3, 1, 2)
