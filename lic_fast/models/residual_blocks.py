"""The residual blocks of CompressAI that TCM is made of."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from lic_fast import ops
from lic_fast.models.bands import banded
from lic_fast.models.modules import (
    GDN,
    Conv2d,
    SubpixelConv,
    added,
    conv1x1,
    conv3x3,
    fusible,
    subpel_conv3x3,
)
from lic_fast.ops.dispatch import fast_on_cpu

__all__ = ["ResidualBlock", "ResidualBlockUpsample", "ResidualBlockWithStride"]


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
        if fusible(Conv2d, self.conv2) and fast_on_cpu(x, skip):
            return self.with_skip(x, skip)
        return added(self.conv2(self.conv1(x, "leaky_relu"), "leaky_relu"), skip)

    def with_skip(
        self, x: Tensor, skip: Tensor, factor: float = 1.0, out: Tensor | None = None
    ) -> Tensor:
        """The branch of x and `factor` times this skip, written to `out` if there is one.

        Where nobody has hooks in the second convolution, and no gradient is asked for with `out`.
        """
        last: Any = self.conv2
        return ops.skipped_conv2d(
            self.conv1(x, "leaky_relu"),
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
        if not isinstance(self.conv1, Conv2d):
            return self._whole(x)  # in integers, of small maps
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
        out = self.gdn(self.conv2(self.conv1(x, "leaky_relu")), overwrite=True)
        return added(out, x) if self.skip is None else self.skip(x, residual=out)


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
        if not isinstance(self.conv, Conv2d):
            return self._whole(x)  # in integers, of small maps
        shuffle: Any = self.upsample[1]
        scale = shuffle.upscale_factor
        width = scale**2 * self.conv.out_channels * x.shape[3]
        return banded(self, self._whole, x, halo=2, scale=scale, width=width)

    def _whole(self, x: Tensor) -> Tensor:
        out = self.igdn(self.conv(self.subpel_conv(x, "leaky_relu")), overwrite=True)
        if isinstance(self.upsample, SubpixelConv):
            return self.upsample.added_to(out, x)
        return added(out, self.upsample(x))
