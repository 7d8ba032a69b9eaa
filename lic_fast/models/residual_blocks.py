"""The residual blocks of CompressAI that TCM is made of."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from lic_fast import ops
from lic_fast.entropy.integer.norm import ExactGDN
from lic_fast.models.bands import banded
from lic_fast.models.modules import (
    GDN,
    Conv2d,
    SubpixelConv,
    added,
    applied,
    conv1x1,
    conv3x3,
    gdn_over,
    plain_conv,
    plus_subpixel_conv,
    subpel_conv3x3,
)
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.plain import plain

__all__ = ["ResidualBlock", "ResidualBlockUpsample", "ResidualBlockWithStride"]

_GDN = (GDN, ExactGDN)
"""Whose result is its own, or that of the convolution before, and may be overwritten."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each behind it a leaky ReLU, and a skip: CompressAI's block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.skip = None if in_channels == out_channels else conv1x1(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, H, W)."""
        skip = x if self.skip is None else self.skip(x)
        if plain_conv(self.conv2) and fast_on_cpu(x, skip):
            return self.with_skip(x, skip)
        # What an activation gives is nobody else's.
        return added(applied(self.conv2, applied(self.conv1, x, "leaky_relu"), "leaky_relu"), skip)

    def with_skip(
        self, x: Tensor, skip: Tensor, factor: float = 1.0, out: Tensor | None = None
    ) -> Tensor:
        """The branch of x and `factor` times this skip, written to `out` if there is one.

        Where the second convolution is plain, and no gradient is asked for with `out`.
        """
        last: Any = self.conv2
        return ops.skipped_conv2d(
            applied(self.conv1, x, "leaky_relu"),
            last.weight,
            last.bias,
            skip,
            padding=last.padding,
            activation="leaky_relu",
            factor=factor,
            out=out,
        )


class ResidualBlockWithStride(nn.Module):
    """Two 3x3 convolutions, the first with a stride, GDN and a skip: CompressAI's block."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride=stride)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.gdn = GDN(out_channels)
        same = stride == 1 and in_channels == out_channels
        self.skip = None if same else conv1x1(in_channels, out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, H / stride, W / stride)."""
        if not plain(Conv2d, self.conv1):
            return self._whole(x)
        stride = self.conv1.stride[0]
        return banded(
            self,
            self._whole,
            x,
            halo=stride + 1,
            scale=Fraction(1, stride),
            align=stride,
            width=-(-self.conv1.out_channels * x.shape[3] // stride**2),
        )

    def _whole(self, x: Tensor) -> Tensor:
        out = self.conv2(applied(self.conv1, x, "leaky_relu"))
        out = gdn_over(self.gdn, out, self.conv2)
        if self.skip is not None:
            return applied(self.skip, x, residual=out)
        return added(out, x) if plain(_GDN, self.gdn) else out + x


class ResidualBlockUpsample(nn.Module):
    """A sub-pixel convolution, a 3x3 convolution, inverse GDN and a skip: CompressAI's block."""

    def __init__(self, in_channels: int, out_channels: int, upsample: int = 2) -> None:
        super().__init__()
        self.subpel_conv = subpel_conv3x3(in_channels, out_channels, upsample)
        self.conv = conv3x3(out_channels, out_channels)
        self.igdn = GDN(out_channels, inverse=True)
        self.upsample = subpel_conv3x3(in_channels, out_channels, upsample)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, upsample * H, upsample * W)."""
        if not plain(Conv2d, self.conv) or not plain(SubpixelConv, self.upsample):
            return self._whole(x)
        shuffle: Any = self.upsample[-1]
        if not plain(nn.PixelShuffle, shuffle):
            return self._whole(x)
        scale = shuffle.upscale_factor
        width = scale**2 * self.conv.out_channels * x.shape[3]
        return banded(self, self._whole, x, halo=2, scale=scale, width=width)

    def _whole(self, x: Tensor) -> Tensor:
        out = self.conv(applied(self.subpel_conv, x, "leaky_relu"))
        out = gdn_over(self.igdn, out, self.conv)
        if plain(_GDN, self.igdn):
            return plus_subpixel_conv(out, self.upsample, x)
        return out + self.upsample(x)
