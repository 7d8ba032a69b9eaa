"""Convolutions to r x r pixels at a time, and transposed convolutions as such.

Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network", CVPR 2016, section 3.2.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["is_subpixel", "pixels_first", "shuffled"]


def pixels_first(parameter: Tensor, r: int) -> Tensor:
    """Output channels (M, r, r), as ``pixel_shuffle`` reads them, to (r, r, M).

    Then the channels of a pixel lie side by side and are moved as one run.
    """
    parts = parameter.unflatten(0, (-1, r, r))
    return parts.movedim(0, 2).flatten(0, 2).contiguous()


def shuffled(x: Tensor, r: int) -> Tensor:
    """(B, H, W, r * r * C) in the order of :func:`pixels_first` to (B, r * H, r * W, C)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, r, r, channels // (r * r))
    return x.transpose(2, 3).reshape(batch, height * r, width * r, -1)


def is_subpixel(kernel: int, stride: int, padding: int, output_padding: int) -> bool:
    """Whether a transposed convolution has just `stride` outputs for each input along a side."""
    return stride > 1 and kernel + output_padding == stride + 2 * padding
