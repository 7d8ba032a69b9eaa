"""Convolutions of the transforms by minimal filtering, with a third or a quarter of the products.

Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", CVPR 2016. A tile of 6x6 numbers gives 4x4 outputs of a 3x3
convolution by 36 products instead of 144, or 2x2 of a 5x5 one by 36 instead of 100. Others become
such: a 5x5 convolution of stride 2 is a 3x3 one of the four pixels of each 2x2 as channels, and
its transpose a 3x3 one to four pixels (:mod:`lic_fast.ops.subpixel`).

``csrc/winograd`` computes it. Maps of float32 are multiplied as such; results are about as exact as
those of a direct convolution. Maps of bfloat16, whose eight bits are too few for the sums in
between, are multiplied as float32, or as words of 16 bits where the processor multiplies and adds
pairs of them faster (AVX2, AVX512-VNNI; AVX-512 without VNNI does not): each place of a tile and
each output of the weights has a scale of its own, so that a word has 12 bits and more, and its
rounding disappears in that of the result. Only where AMX multiplies bfloat16 in tiles is it left to
them: to :mod:`lic_fast.ops.tile_convolution`, or oneDNN where ``LIC_FAST_ISA`` keeps csrc from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.copies import of_groups
from lic_fast.ops.onednn import Activation, Pair, has_tiles
from lic_fast.ops.prepared import prepared, present
from lic_fast.ops.threads import threads

__all__ = [
    "Convolution",
    "convolve",
    "direct_convolutions",
    "fits",
    "may_compute",
    "wide_vectors",
]

_direct: ContextVar[bool] = ContextVar("lic_fast_direct_convolutions", default=False)

# Output channels of a panel of weights, and input channels of a vector; see winograd.hpp.
_PANEL = 16
# Products of a pixel below which transforms outweigh them.
_LEAST = 48 * 12
# Input channels from which few outputs, too, are faster: oneDNN leaves most of a vector empty.
_WIDE = 48
# Products of a sum below which making words and numbers again outweighs their faster products.
_WORDS = 48
# Pixels below which there are too few tiles for the products to be matrices'.
_LEAST_PIXELS = 256


@contextmanager
def direct_convolutions() -> Iterator[None]:
    """Within the block convolutions are oneDNN's: :func:`fits` holds for nothing."""
    with _set(_direct):
        yield


def may_compute() -> bool:
    """Whether convolutions may be those of csrc here: not in :func:`direct_convolutions`."""
    return not _direct.get()


@contextmanager
def _set(variable: ContextVar[bool]) -> Iterator[None]:
    token = variable.set(True)
    try:
        yield
    finally:
        variable.reset(token)


def wide_vectors() -> bool:
    """Whether csrc has vectors of eight and more: else oneDNN is faster."""
    return "avx2" in _C.instruction_sets() and os.environ.get("LIC_FAST_ISA") != "scalar"


def fits(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, groups: int = 1) -> bool:
    """Whether this convolution can be computed so, and faster than by oneDNN.

    It depends on the sides of a map and not on how many there are, so that a batch is computed
    as each of its images would be.

    Args:
        x: (B, N, H, W), such that :func:`lic_fast.ops.dispatch.fast_on_cpu` holds.
        weight: (M, N / groups, rows, columns).
        stride: As for :func:`lic_fast.ops.conv2d`, as the rest.
        padding: See there.
        groups: See there.
    """
    outputs, inputs, rows, columns = weight.shape
    kernel, step = rows, tuple(stride)
    if rows != columns or tuple(padding) != (kernel // 2, kernel // 2):
        return False
    if (kernel, step) not in ((3, (1, 1)), (5, (1, 1)), (5, (2, 2))):
        return False
    height, width = x.shape[2:]
    phased = step == (1, 1) or (height % 2 == 0 and width % 2 == 0 and groups == 1)
    return (
        phased
        and x.dtype in (torch.float32, torch.bfloat16)
        and not (x.dtype == torch.bfloat16 and has_tiles())
        and may_compute()
        and inputs % _PANEL == 0
        and (inputs * (outputs // groups) >= _LEAST or (kernel == 3 and inputs >= _WIDE))
        and height * width >= _LEAST_PIXELS * step[0] * step[1]
        and wide_vectors()
    )


class Convolution:
    """A convolution with its weights prepared, of those for which :func:`fits` holds.

    Args:
        weight: (M, N / groups, k, k).
        bias: (M,) or None.
        stride: (1, 1) or (2, 2).
        groups: Groups that N and M divide into.
        compact: Whether weights are transformed whenever they are used, not kept in four times
            the memory.
        words: Whether products are of 16 bits, for maps of bfloat16; not of compact weights.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair = (1, 1),
        groups: int = 1,
        *,
        compact: bool,
        words: bool = False,
    ) -> None:
        self._phases = stride[0]
        self._outputs = len(weight)
        weight = weight.detach().float()
        weight = weight.contiguous() if self._phases == 1 else phased(weight)
        offsets = torch.zeros(len(weight)) if bias is None else bias.detach().float().clone()
        count = threads()
        self._groups = [
            (_C.Winograd(weight.numpy(), not compact, count, words), own.numpy())
            for weight, own in zip(weight.chunk(groups), offsets.chunk(groups), strict=True)
        ]

    def __call__(
        self,
        x: Tensor,
        activation: Activation = "none",
        residual: Tensor | None = None,
        shuffle: int = 1,
    ) -> Tensor:
        """(B, N, H, W) to (B, M, H', W') with channels last; see :func:`convolve`."""
        batch, _, height, width = x.shape
        outputs = self._outputs // shuffle**2
        sides = (side // self._phases * shuffle for side in (height, width))
        out = torch.empty(
            (batch, outputs, *sides), dtype=x.dtype, memory_format=torch.channels_last
        )
        groups = len(self._groups)
        parts = of_groups(groups, x, out, residual)
        for (weights, bias), (source, into, skip) in zip(self._groups, parts, strict=True):
            weights.run(
                source,
                bias,
                into,
                residual=skip,
                activation=activation,
                phases=self._phases,
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
) -> Tensor:
    """The convolution of :func:`lic_fast.ops.conv2d`, where :func:`fits` holds.

    Args:
        x: (B, N, H, W), float32 or bfloat16.
        weight: (M, N / groups, k, k).
        bias: (M,) or None.
        stride: (1, 1) or (2, 2).
        groups: Groups that N and M divide into.
        activation: See :func:`lic_fast.ops.conv2d`.
        residual: Of the result's shape, or None.
        shuffle: Pixels r along a side that a pixel of the result becomes; its channels are (r, r,
            M / r^2). Without groups.

    Returns:
        (B, M / r^2, r * H', r * W'), of the type of x, with channels last.
    """
    summed = weight.shape[1] * stride[0] ** 2
    words = x.dtype == torch.bfloat16 and summed >= _WORDS
    words = words and _C.multiplies_words()
    convolution = prepared(
        ("winograd", stride, groups, words),
        present(weight, bias),
        lambda: Convolution(weight, bias, stride, groups, compact=False, words=words),
    )
    return convolution(x, activation, residual, shuffle)


def phased(weight: Tensor) -> Tensor:
    """The weight of a 5x5 convolution of stride 2, padded by 2, as a 3x3 one.

    Its input is that of ``pixel_unshuffle`` with the pixels first: (2, 2, N) channels. Row
    2 i + k - 2 is row i + (k - 2 - p) / 2 of phase p, the parity of k.

    Args:
        weight: (M, N, 5, 5).

    Returns:
        (M, 4 * N, 3, 3).
    """
    outputs, inputs = weight.shape[:2]
    wide = weight.new_zeros(outputs, 2, 2, inputs, 3, 3)
    for row in range(5):
        for column in range(5):
            p, q = row % 2, column % 2
            place = (row - 2 - p) // 2 + 1, (column - 2 - q) // 2 + 1
            wide[:, p, q, :, place[0], place[1]] = weight[:, :, row, column]
    return wide.flatten(1, 3)
