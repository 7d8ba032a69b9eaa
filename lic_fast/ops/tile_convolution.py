"""Convolutions of bfloat16 by tiles of AMX, on the CPUs that have them.

``csrc/tiles`` multiplies maps of bfloat16 as they are and adds their products in float32, like
oneDNN, whose tiles are as fast where there are many channels. For the channels by the dozen of the
transforms it saves what oneDNN does beside its products: bias, residual and activation follow in
the nearest cache, while other tiles are multiplied, and the pixels of a sub-pixel convolution go
where they belong. A transposed convolution is such a one (:mod:`lic_fast.ops.subpixel`), of which
the taps that are zero cost nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.copies import of_groups
from lic_fast.ops.onednn import Activation, Pair
from lic_fast.ops.prepared import prepared, present
from lic_fast.ops.threads import threads
from lic_fast.ops.winograd import may_compute

__all__ = ["Convolution", "convolve", "fits"]

# Channels of a group, each of which is a call, below which most of a tile would be empty.
_LEAST = 16


def fits(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, groups: int = 1) -> bool:
    """Whether this convolution can be computed so, and not slower than by oneDNN.

    Args:
        x: (B, N, H, W), such that :func:`lic_fast.ops.dispatch.fast_on_cpu` holds.
        weight: (M, N / groups, rows, columns).
        stride: As for :func:`lic_fast.ops.conv2d`, as the rest.
        padding: See there.
        groups: See there.
    """
    _, inputs, kernel, columns = weight.shape
    return (
        x.dtype == torch.bfloat16
        and x.numel() > 0
        and kernel == columns
        and kernel % 2 == 1
        and tuple(padding) == (kernel // 2, kernel // 2)
        and tuple(stride) in ((1, 1), (2, 2))
        and (groups == 1 or inputs >= _LEAST)
        and may_compute()
        and _C.multiplies_tiles()
    )


class Convolution:
    """A convolution with its weights packed, of those for which :func:`fits` holds.

    Args:
        weight: (M, N / groups, k, k), rounded to bfloat16.
        bias: (M,) or None, in float32.
        stride: (1, 1) or (2, 2).
        groups: Groups that N and M divide into.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, stride: Pair = (1, 1), groups: int = 1
    ) -> None:
        self._stride = stride[0]
        self._outputs = len(weight)
        weight = weight.detach().float().contiguous()
        offsets = torch.zeros(len(weight)) if bias is None else bias.detach().float().contiguous()
        self._groups = [
            _C.TileConvolution(weight.numpy(), own.numpy())
            for weight, own in zip(weight.chunk(groups), offsets.chunk(groups), strict=True)
        ]

    def __call__(
        self,
        x: Tensor,
        activation: Activation = "none",
        residual: Tensor | None = None,
        shuffle: int = 1,
        out: Tensor | None = None,
    ) -> Tensor:
        """(B, N, H, W) to (B, M, H', W') with channels last; see :func:`convolve`."""
        batch, _, height, width = x.shape
        if out is None:
            sides = (-(-side // self._stride) * shuffle for side in (height, width))
            out = torch.empty(
                (batch, self._outputs // shuffle**2, *sides),
                dtype=x.dtype,
                memory_format=torch.channels_last,
            )
        groups = len(self._groups)
        if residual is not None:
            residual = residual.to(x.dtype).expand_as(out)
        parts = of_groups(groups, x, out, residual)
        for weights, (source, into, skip) in zip(self._groups, parts, strict=True):
            weights.run(
                source,
                into,
                residual=skip,
                activation=activation,
                stride=self._stride,
                shuffle=shuffle,
                threads=threads(),
            )
        return out


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair = (1, 1),
    groups: int = 1,
    activation: Activation = "none",
    residual: Tensor | None = None,
    shuffle: int = 1,
    out: Tensor | None = None,
) -> Tensor:
    """The convolution of :func:`lic_fast.ops.conv2d`, where :func:`fits` holds.

    An infinity may become a NaN, but neither reaches beyond the outputs that depend on it.

    Args:
        x: (B, N, H, W), bfloat16.
        weight: (M, N / groups, k, k).
        bias: (M,) or None.
        stride: (1, 1) or (2, 2).
        groups: Groups that N and M divide into.
        activation: See :func:`lic_fast.ops.conv2d`.
        residual: Of the result's shape, or None.
        shuffle: Pixels r along a side that a pixel of the result becomes; its channels are (r, r,
            M / r^2). Without groups.
        out: Where the result goes, its channels side by side, or None.

    Returns:
        (B, M / r^2, r * H', r * W'), bfloat16: `out`, or with channels last.
    """
    convolution = prepared(
        ("tile convolution", stride, groups),
        present(weight, bias),
        lambda: Convolution(weight, bias, stride, groups),
    )
    return convolution(x, activation, residual, shuffle, out)
