"""STF: the symmetrical transformer.

Zou, Song and Zhang, "The Devil Is in the Details: Window-based Attention for
Image Compression", CVPR 2022, figure 6. Its blocks are those of Liu et al.,
"Swin Transformer", ICCV 2021. Feature maps are (B, H, W, C) inside the
transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import lcm
from typing import Any

import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.gains import gain_arguments
from lic_fast.models.layers import (
    WindowAttention,
    hyper_analysis,
    hyper_analysis_channels,
    hyper_synthesis,
    hyper_synthesis_channels,
    sequence,
    slice_network_arguments,
    slice_networks,
)
from lic_fast.models.stf_resampling import PatchEmbed, PatchMerging, PatchSplit

__all__ = ["SymmetricalTransFormer"]


class SymmetricalTransFormer(SliceCompressionModel):
    """Transformer stages down to the latents and up again, channel-slice entropy model.

    Args:
        pretrain_img_size: Unused, as in the original.
        patch_size: Pixels along the side of a token.
        in_chans: Channels of the input.
        embed_dim: Channels of the first stage; each further stage has twice as many.
        depths: Blocks of each stage of the analysis.
        num_heads: Attention heads of each stage of the analysis.
        window_size: Side of the attention's windows in tokens.
        num_slices: Slices that the latents divide into.
        mlp_ratio: Width of a block's hidden layer over that of its input.
        qkv_bias: Whether the map to queries, keys and values has a bias.
        qk_scale: Factor of their products, head size^-1/2 if None.
        drop_rate: Dropout of tokens and of the linear layers' outputs.
        attn_drop_rate: Dropout of attention weights.
        drop_path_rate: Stochastic depth of the last block, linear from 0 at the first.
        norm_layer: Makes the normalisation for a number of channels.
        patch_norm: Whether the patch embedding is normalised.
        frozen_stages: 0 freezes the patch embedding, n >= 2 also the first
            n - 1 stages, as in the original; negative freezes nothing.
        use_checkpoint: Recompute blocks in the backward pass to save memory.
        max_support_slices: Slices, from the first, on which later ones depend;
            half of all if None.
        hyper_channels: Output widths of h_a's five convolutions; the last is
            the number of channels of z.
        hyper_synthesis_channels: Those of h_mean_s and h_scale_s, where the
            second and the fourth are sub-pixel convolutions.
        entropy_channels: Widths inside the slice networks.
        qualities: Anchors of the gains by which one model codes at many rates, at least 2; 0 for a
            model of one rate, without gains, as the original is.

    Raises:
        ValueError: The widths do not fit each other.
    """

    architecture = "SymmetricalTransFormer"

    def __init__(
        self,
        pretrain_img_size: int = 256,
        patch_size: int = 2,
        in_chans: int = 3,
        embed_dim: int = 48,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 4,
        num_slices: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        patch_norm: bool = True,
        frozen_stages: int = -1,
        use_checkpoint: bool = False,
        *,
        max_support_slices: int | None = None,
        hyper_channels: Sequence[int] = (384, 336, 288, 240, 192),
        hyper_synthesis_channels: Sequence[int] = (240, 288, 336, 384, 384),
        entropy_channels: Sequence[int] = (224, 176, 128, 64),
        qualities: int = 0,
    ) -> None:
        super().__init__()
        stages = len(depths)
        if len(num_heads) != stages:
            raise ValueError(f"{stages} depths need as many num_heads, not {len(num_heads)}")
        if patch_size * 2 ** (stages - 1) != 16:
            raise ValueError(
                "the latents must be at 1/16 of the picture: patch_size * 2^(stages - 1) is "
                f"{patch_size * 2 ** (stages - 1)}, not 16"
            )
        if max_support_slices is None:
            max_support_slices = num_slices // 2
        self.arguments = {
            "patch_size": patch_size,
            "in_chans": in_chans,
            "embed_dim": embed_dim,
            "depths": tuple(depths),
            "num_heads": tuple(num_heads),
            "window_size": window_size,
            "num_slices": num_slices,
            "mlp_ratio": mlp_ratio,
            "qkv_bias": qkv_bias,
            "qk_scale": qk_scale,
            "patch_norm": patch_norm,
            "max_support_slices": max_support_slices,
            "hyper_channels": tuple(hyper_channels),
            "hyper_synthesis_channels": tuple(hyper_synthesis_channels),
            "entropy_channels": tuple(entropy_channels),
            "qualities": qualities,
        }
        self.pretrain_img_size = pretrain_img_size
        self.num_layers = stages
        self.embed_dim = embed_dim
        self.frozen_stages = frozen_stages
        self.window_size = window_size
        self.M = M = embed_dim * 2 ** (stages - 1)

        self.patch_embed = PatchEmbed(
            patch_size, in_chans, embed_dim, norm_layer if patch_norm else None
        )
        self.pos_drop = nn.Dropout(drop_rate)
        drop_path = torch.linspace(0, drop_path_rate, sum(depths)).tolist()

        def stage(depth: int, dim: int, heads: int, first: int, resample: Any) -> Stage:
            return Stage(
                dim,
                depth,
                resample(dim, norm_layer) if resample else None,
                drop_path=drop_path[first : first + depth],
                use_checkpoint=use_checkpoint,
                num_heads=heads,
                window_size=window_size,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                qk_scale=qk_scale,
                drop=drop_rate,
                attn_drop=attn_drop_rate,
                norm_layer=norm_layer,
            )

        def all_stages(
            depths: Sequence[int], dims: list[int], heads: Sequence[int], resample: Any
        ) -> nn.ModuleList:
            return nn.ModuleList(
                stage(
                    depths[i],
                    dims[i],
                    heads[i],
                    sum(depths[:i]),
                    resample if i < stages - 1 else None,
                )
                for i in range(stages)
            )

        dims = [embed_dim * 2**i for i in range(stages)]
        self.num_features = dims
        self.layers = all_stages(depths, dims, num_heads, PatchMerging)
        self.syn_layers = all_stages(depths[::-1], dims[::-1], num_heads[::-1], PatchSplit)
        self.end_conv = nn.Sequential(
            nn.Conv2d(embed_dim, embed_dim * patch_size**2, kernel_size=5, padding=2),
            nn.PixelShuffle(patch_size),
            nn.Conv2d(embed_dim, in_chans, kernel_size=3, padding=1),
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
        self._freeze_stages()

    def _freeze_stages(self) -> None:
        frozen: list[nn.Module] = [self.patch_embed] if self.frozen_stages >= 0 else []
        frozen += list(self.layers[: max(0, self.frozen_stages - 1)])
        for module in frozen:
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> SymmetricalTransFormer:
        """As :meth:`torch.nn.Module.train`; frozen stages stay in evaluation."""
        super().train(mode)
        self._freeze_stages()
        return self

    @property
    def multiple(self) -> int:
        """Whole elements of z; windows may hang over the edge."""
        return lcm(self.z_downsampling, 16)

    def analysis(self, x: Tensor) -> Tensor:
        """g_a: patch embedding and transformer stages."""
        x = self.pos_drop(self.patch_embed(x))
        for layer in self.layers:
            x = layer(x)
        return x.permute(0, 3, 1, 2).contiguous()

    def synthesis(self, y_hat: Tensor) -> Tensor:
        """g_s: transformer stages and the final convolutions."""
        x = y_hat.permute(0, 2, 3, 1).contiguous()
        for layer in self.syn_layers:
            x = layer(x)
        return self.end_conv(x.permute(0, 3, 1, 2).contiguous())

    @classmethod
    def arguments_from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
        """See :class:`SliceCompressionModel`."""
        embed = state_dict["patch_embed.proj.weight"]
        depths: list[int] = []
        heads: list[int] = []
        block = "layers.{}.blocks.{}.norm1.weight"
        while block.format(len(depths), 0) in state_dict:
            stage = len(depths)
            depths.append(
                len(list(sequence(state_dict, f"layers.{stage}.blocks.{{}}.norm1.weight")))
            )
            heads.append(
                state_dict[f"layers.{stage}.blocks.0.attn.relative_position_bias_table"].shape[1]
            )
        table = state_dict["layers.0.blocks.0.attn.relative_position_bias_table"]
        return {
            "patch_size": embed.shape[2],
            "in_chans": embed.shape[1],
            "embed_dim": embed.shape[0],
            "depths": tuple(depths),
            "num_heads": tuple(heads),
            "window_size": (round(table.shape[0] ** 0.5) + 1) // 2,
            "mlp_ratio": state_dict["layers.0.blocks.0.mlp.fc1.weight"].shape[0] / embed.shape[0],
            "qkv_bias": "layers.0.blocks.0.attn.qkv.bias" in state_dict,
            "patch_norm": "patch_embed.norm.weight" in state_dict,
            "hyper_channels": hyper_analysis_channels(state_dict),
            "hyper_synthesis_channels": hyper_synthesis_channels(state_dict),
            **slice_network_arguments(state_dict),
            **gain_arguments(state_dict),
        }


class Stage(nn.Module):
    """Transformer blocks, every second one shifted, then a change of resolution."""

    def __init__(
        self,
        dim: int,
        depth: int,
        resample: nn.Module | None,
        *,
        drop_path: Sequence[float],
        use_checkpoint: bool,
        window_size: int,
        **block: Any,
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.blocks = nn.ModuleList(
            Block(
                dim,
                window_size=window_size,
                shift=window_size // 2 if i % 2 else 0,
                drop_path=drop_path[i],
                **block,
            )
            for i in range(depth)
        )
        self.downsample = resample  # the published name, in the synthesis too

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H/2, W/2, 2C), (B, 2H, 2W, C/2) or (B, H, W, C)."""
        for block in self.blocks:
            if self.use_checkpoint and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x if self.downsample is None else self.downsample(x)


class Block(nn.Module):
    """Window attention and a two-layer perceptron, each behind a norm and with a skip."""

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        window_size: int,
        shift: int,
        mlp_ratio: float,
        qkv_bias: bool,
        qk_scale: float | None,
        drop: float,
        attn_drop: float,
        drop_path: float,
        norm_layer: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = WindowAttention(
            dim, window_size, num_heads, shift, qkv_bias, qk_scale, attn_drop, drop
        )
        self.drop_path = StochasticDepth(drop_path, "row")
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
