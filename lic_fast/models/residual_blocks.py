"""CompressAI's residual blocks, of which TCM is made.

They have its children and state-dict entries and compute the same, but write over no map: hooks
may keep what a module gives, and full backward hooks refuse operations in place.
"""

from __future__ import annotations

from compressai.layers import GDN, conv1x1, conv3x3, subpel_conv3x3
from torch import Tensor, nn

__all__ = ["ResidualBlock", "ResidualBlockUpsample", "ResidualBlockWithStride"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each followed by a leaky ReLU, and a skip."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels)
        self.leaky_relu = nn.LeakyReLU()
        self.conv2 = conv3x3(out_channels, out_channels)
        self.skip = None if in_channels == out_channels else conv1x1(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, H, W)."""
        out = self.leaky_relu(self.conv1(x))
        out = self.leaky_relu(self.conv2(out))
        return out + (x if self.skip is None else self.skip(x))


class ResidualBlockWithStride(nn.Module):
    """Two 3x3 convolutions, the first with a stride, GDN and a skip."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride=stride)
        self.leaky_relu = nn.LeakyReLU()
        self.conv2 = conv3x3(out_channels, out_channels)
        self.gdn = GDN(out_channels)
        same = stride == 1 and in_channels == out_channels
        self.skip = None if same else conv1x1(in_channels, out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, H / stride, W / stride)."""
        out = self.gdn(self.conv2(self.leaky_relu(self.conv1(x))))
        return out + (x if self.skip is None else self.skip(x))


class ResidualBlockUpsample(nn.Module):
    """A sub-pixel convolution, a 3x3 convolution, inverse GDN and a skip."""

    def __init__(self, in_channels: int, out_channels: int, upsample: int = 2) -> None:
        super().__init__()
        self.subpel_conv = subpel_conv3x3(in_channels, out_channels, upsample)
        self.leaky_relu = nn.LeakyReLU()
        self.conv = conv3x3(out_channels, out_channels)
        self.igdn = GDN(out_channels, inverse=True)
        self.upsample = subpel_conv3x3(in_channels, out_channels, upsample)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, upsample * H, upsample * W)."""
        out = self.igdn(self.conv(self.leaky_relu(self.subpel_conv(x))))
        return out + self.upsample(x)
