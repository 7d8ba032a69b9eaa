r"""3x3 convolution of stride 1 and padding 1 as an implicit matrix product.

.. math:: out = \mathrm{activation}(W * x + b + residual)

One program computes a block of pixels by a block of the output channels of one group. The sum
runs over (block of input channels, place in the 3x3 window), the place fastest, so that all nine
reads of a block of input channels follow each other and eight of them can hit the cache.

The sum is not split between programs. Its parts would be added by atomics, in an order left to
chance, where a decoder must arrive at the encoder's values; or through a workspace and a second
launch. Small tiles and the groups of one launch occupy the device without: on 32x48 pixels the
layers of one slice's network, 224 to 64 channels wide, make 144 to 192 programs for the 132
multiprocessors of an H100, and the mean and scale networks of a step run as groups of one launch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lic_fast.kernels.common import dot_precision, gelu, multiprocessors

__all__ = ["conv3x3", "conv3x3_kernel", "pack"]


class Tile(NamedTuple):
    """A program's pixels, output channels and step through the input channels, and its warps."""

    pixels: int
    outputs: int
    inputs: int
    num_warps: int
    num_stages: int


# Triton would compile anew wherever a width or stride is 1, or a multiple of 16 and was not before.
_NOT_SPECIALIZED = [
    *("pixels", "height", "width", "group_inputs", "group_outputs"),
    *(f"{of}_{along}" for of in ("x", "residual", "out") for along in ("image", "row", "column")),
]


@triton.jit(do_not_specialize=_NOT_SPECIALIZED)
def conv3x3_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    residual_ptr,
    out_ptr,
    pixels,
    height,
    width,
    group_inputs,
    group_outputs,
    x_image,
    x_row,
    x_column,
    residual_image,
    residual_row,
    residual_column,
    out_image,
    out_row,
    out_column,
    UNIT: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_I: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Widths of groups and strides are in units of elements; the stride of channels is one element.

    That they are multiples of a unit of 16 is what lets the compiler read and write vectors. A
    bias or residual of None is left out.
    """
    group_inputs *= UNIT
    group_outputs *= UNIT
    group = tl.program_id(2)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    present = pixel < pixels
    exists = channel < group_outputs
    column = pixel % width
    row = (pixel // width % height).to(tl.int64)
    image = (pixel // width // height).to(tl.int64)

    start = (image * x_image + row * x_row + column * x_column) * UNIT
    centre = x_ptr + start + group * group_inputs
    weights = weight_ptr + group.to(tl.int64) * 9 * group_inputs * group_outputs
    total = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for step in range(9 * tl.cdiv(group_inputs, BLOCK_I)):
        place = step % 9
        down = place // 3 - 1
        right = place % 3 - 1
        source = step // 9 * BLOCK_I + tl.arange(0, BLOCK_I)
        given = source < group_inputs
        r = row + down
        c = column + right
        inside = present & (r >= 0) & (r < height) & (c >= 0) & (c < width)
        x = tl.load(
            (centre + (down * x_row + right * x_column) * UNIT)[:, None] + source[None, :],
            mask=inside[:, None] & given[None, :],
            other=0.0,
        )
        weight = tl.load(
            weights + (place * group_inputs + source)[:, None] * group_outputs + channel[None, :],
            mask=given[:, None] & exists[None, :],
            other=0.0,
        )
        total = tl.dot(x, weight, total, input_precision=PRECISION)

    target = group * group_outputs + channel
    there = present[:, None] & exists[None, :]
    if bias_ptr is not None:
        total += tl.load(bias_ptr + target, mask=exists, other=0.0).to(tl.float32)[None, :]
    if residual_ptr is not None:
        start = (image * residual_image + row * residual_row + column * residual_column) * UNIT
        residual = tl.load(residual_ptr + start[:, None] + target[None, :], mask=there, other=0.0)
        total += residual.to(tl.float32)
    if ACTIVATION == "gelu":
        total = gelu(total)
    start = (image * out_image + row * out_row + column * out_column) * UNIT
    total = total.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + start[:, None] + target[None, :], total, mask=there)


# From large to small, by the bytes of an element. Large tiles read less for each product; the
# maps of the slice and hyper networks, 1536 and 384 pixels of a 768x512 picture, need small ones,
# or most of the device has nothing to do. None of them spills registers on sm_80, sm_90 or gfx942.
_TILES = {
    2: (
        Tile(128, 128, 32, 8, 4),
        Tile(128, 64, 64, 8, 3),
        Tile(64, 64, 64, 4, 4),
        Tile(64, 32, 64, 4, 4),
        Tile(32, 32, 64, 4, 4),
        Tile(16, 32, 64, 2, 4),
    ),
    4: (
        Tile(64, 64, 16, 4, 4),
        Tile(32, 64, 16, 4, 4),
        Tile(32, 32, 16, 4, 4),
        Tile(16, 32, 16, 2, 4),
    ),
}


def tile(pixels: int, group_outputs: int, groups: int, itemsize: int, processors: int) -> Tile:
    """The largest tile of which there are enough to occupy every multiprocessor."""
    tiles = _TILES[itemsize]
    for candidate in tiles:
        programs = (
            triton.cdiv(pixels, candidate.pixels)
            * triton.cdiv(group_outputs, candidate.outputs)
            * groups
        )
        if programs >= processors:
            return candidate
    return tiles[-1]


def pack(weight: Tensor, groups: int = 1) -> Tensor:
    """The weights in the order in which the kernel reads them; made once per layer.

    Args:
        weight: (Cout, Cin / groups, 3, 3).
        groups: That Cout divides into.

    Returns:
        (groups, 9, Cin / groups, Cout / groups) contiguous.
    """
    outputs, inputs = weight.shape[:2]
    by_group = weight.reshape(groups, outputs // groups, inputs, 9)
    return by_group.permute(0, 3, 2, 1).contiguous()


def conv3x3(
    x: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    activation: str,
    residual: Tensor | None,
    *,
    out: Tensor,
) -> Tensor:
    """Writes activation(W * x + bias + residual) to `out`.

    Maps are (B, C, H, W) with a stride of 1 along the channels: channels last, or some of the
    channels of a wider map in that layout.

    Args:
        x: (B, Cin, H, W); float32, bfloat16 or float16, as all operands.
        packed: (groups, 9, Cin / groups, Cout / groups), see :func:`pack`.
        bias: (Cout,), or None.
        activation: "none" or "gelu".
        residual: (B, Cout, H, W), or None; may be `out`.
        out: (B, Cout, H, W); must not share memory with `x`.
    """
    groups, _, group_inputs, group_outputs = packed.shape
    batch, _, height, width = x.shape
    pixels = batch * height * width
    if pixels == 0:
        return out
    chosen = tile(pixels, group_outputs, groups, x.itemsize, multiprocessors(x.device))
    grid = (
        triton.cdiv(pixels, chosen.pixels),
        triton.cdiv(group_outputs, chosen.outputs),
        groups,
    )
    widths = [group_inputs, group_outputs, *_strides(x), *_strides(residual), *_strides(out)]
    unit = 16 if all(width % 16 == 0 for width in widths) else 1
    with torch.cuda.device_of(x):
        conv3x3_kernel[grid](
            x,
            packed,
            bias,
            residual,
            out,
            pixels,
            height,
            width,
            *(width // unit for width in widths),
            UNIT=unit,
            ACTIVATION=activation,
            BLOCK_P=chosen.pixels,
            BLOCK_O=chosen.outputs,
            BLOCK_I=chosen.inputs,
            PRECISION=dot_precision(x.dtype),
            num_warps=chosen.num_warps,
            num_stages=chosen.num_stages,
        )
    return out


def _strides(x: Tensor | None) -> list[int]:
    """Of images, rows and columns; 0 where there is one of them, whose stride may be anything."""
    return [0 if x is None or x.shape[d] == 1 else x.stride(d) for d in (0, 2, 3)]
