"""How STF's token maps change their resolution: patch embedding, merging, splitting, the end.

Liu et al., "Swin Transformer", ICCV 2021, section 3.1, and Zou, Song and Zhang, CVPR 2022,
figure 6. Feature maps are (B, H, W, C).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lic_fast import ops
from lic_fast.models.modules import (
    Conv2d,
    Linear,
    applied,
    fused_norm,
    plain_conv,
    subpixel_conv,
)
from lic_fast.ops.bands import in_bands
from lic_fast.ops.copies import dense
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.plain import plain
from lic_fast.ops.subpixel import pixels_first, shuffled

__all__ = ["EndConv", "PatchEmbed", "PatchMerging", "PatchSplit"]


class PatchEmbed(nn.Module):
    """Pixels (B, 3, H, W) to one token per patch, (B, H/p, W/p, C)."""

    def __init__(
        self,
        patch_size: int,
        in_chans: int,
        dim: int,
        norm_layer: Callable[[int], nn.Module] | None,
    ) -> None:
        super().__init__()
        self.proj = Conv2d(in_chans, dim, kernel_size=patch_size, stride=patch_size)
        self.norm = None if norm_layer is None else norm_layer(dim)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = dense(self.proj(x).permute(0, 2, 3, 1))
        return x if self.norm is None else self.norm(x)


class PatchMerging(nn.Module):
    """(B, H, W, C) to (B, H/2, W/2, 2C): 2x2 tokens side by side, normalised, projected."""

    scale = Fraction(1, 2)

    def __init__(self, dim: int, norm_layer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm = norm_layer(4 * dim)
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        batch, height, width, channels = x.shape
        corners = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
        # (0, 0), (1, 0), (0, 1), (1, 1)
        corners = dense(corners.permute(0, 1, 3, 4, 2, 5)).flatten(3)
        return applied(self.reduction, corners, norm=self.norm)


class PatchSplit(nn.Module):
    """(B, H, W, C) to (B, 2H, 2W, C/2): normalised, projected, shuffled to 2x2 tokens."""

    scale = Fraction(2)

    def __init__(self, dim: int, norm_layer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm = norm_layer(dim)
        self.reduction = Linear(dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        fused = plain(Linear, self.reduction) and self.reduction.bias is None
        if fused and fast_on_cpu(x, self.reduction.weight):
            weight: Tensor = self.reduction.weight
            weight = ops.prepared("split", [weight], lambda: pixels_first(weight.detach(), 2))
            x, factors = fused_norm(self.norm, x)
            return shuffled(ops.linear(x, weight, norm=factors), 2)
        x = self.reduction(self.norm(x)).permute(0, 3, 1, 2)
        return F.pixel_shuffle(x, 2).permute(0, 2, 3, 1).contiguous()


class EndConv(nn.Sequential):
    """The last convolutions of g_s, the first of them sub-pixel, under the published names."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to pixels (B, 3, p * H, p * W)."""
        layers: list[Any] = list(self)
        if (
            len(layers) != 3
            or not all(plain_conv(layer) for layer in layers[::2])
            or not plain(nn.PixelShuffle, layers[1])
        ):
            return super().forward(x)
        wide, shuffle, last = layers
        scale = shuffle.upscale_factor

        def convolve(x: Tensor) -> Tensor:
            return last(subpixel_conv(x, wide, shuffle))

        if not fast_on_cpu(x, wide.weight):
            return convolve(x)
        # Between the convolutions are more numbers than anywhere else in the model.
        halo = wide.padding[0] + 1
        return in_bands(convolve, x, halo=halo, scale=scale, width=wide.out_channels * x.shape[3])
