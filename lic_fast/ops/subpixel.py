"""Convolutions to r x r pixels at a time, and transposed convolutions as such.

Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network", CVPR 2016, section 3.2.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["is_subpixel", "pixels_first", "shuffled", "subpixel_weight"]


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


def subpixel_weight(weight: Tensor, stride: int, padding: int) -> tuple[Tensor, int]:
    r"""The weight of a convolution whose :func:`shuffled` result is the transposed one's.

    Output :math:`s i + q` is the sum of input :math:`i + d` times tap :math:`q + p - s d` over
    all d for which there is such a tap.

    Args:
        weight: (N, M, k, k) of the transposed convolution.
        stride: Its stride s.
        padding: Its padding p, for which :func:`is_subpixel` holds.

    Returns:
        (s * s * M, N, 2 h + 1, 2 h + 1), and h, the convolution's padding.
    """
    inputs, outputs, kernel = weight.shape[:3]
    # The first and the last d of any q.
    halo = max((stride - 1 + padding) // stride, (kernel - 1 - padding) // stride)
    taps = {
        (q, d): q + padding - stride * d
        for q in range(stride)
        for d in range(-halo, halo + 1)
        if 0 <= q + padding - stride * d < kernel
    }
    side = 2 * halo + 1
    wide = weight.new_zeros(stride, stride, outputs, inputs, side, side)
    for (q, d), row in taps.items():
        for (r, e), column in taps.items():
            wide[q, r, :, :, d + halo, e + halo] = weight[:, :, row, column].T
    return wide.flatten(0, 2), halo
