r"""Integer convolution as an implicit matrix product, with all that follows it in a layer.

.. math::
    o_m &= \sum_{n, r, c} w_{m n r c} \, a_{n, r, c}, \quad a = 128 h + l \\
    v_m &= f(s_m \cdot (o_m + b_m) + r_m)

and v itself or its halves as the next layer's activations: ``lic_fast/ops/integer_layer.py`` bit
for bit. The products are of 8-bit integers, activations of 7 bits and weights of 8, and their sums
of 32 bits, on the tensor cores; both halves meet the same block of weights and have a sum each,
:math:`128 \sum w h + \sum w l`. What follows is float32 in single operations, see ``exact.py``.

Activations beyond the edge are not zero but border[n], and so differ along the very dimension that
is summed. They are read as zero, which costs nothing, and what they add is added afterwards from a
table: for each place in the window :math:`e_m = \sum_n w_{m n} border_n`, to the pixels of which
that place is beyond the edge. Sums of integers do not mind the order.

One program computes a block of pixels by a block of the output channels of one group. The sum runs
over (block of input channels, place in the window), the place fastest, so that all nine reads of a
block of input channels follow each other and eight of them can hit the cache. Split between
programs it would be exact too, but what follows it would take a second launch. Small tiles occupy
the device without: on 32x48 pixels, the layers of one slice's network in STF, 224, 176, 128, 64 and
32 channels wide, make 168, 144, 192, 192 and 96 programs for the 132 multiprocessors of an H100,
and the networks of one step run as groups of one launch.

What bounds it, by arithmetic alone, for no GPU has run it yet: the largest of these layers without
hoisting, 576 to 224 channels, is 3.6 GOP for each half, 1.8 us at the 1979 TOPS of an H100, about
as much as a launch. But each of its programs goes through 45 blocks of 128 channels one after
another, and if a block took a third of a microsecond, for a read from the second-level cache that
the stages before it hide only in part, they would take 15 us. So the number of launches that
depend on each other and the length of this chain should count, not the rate of products: hence
deep blocks, and all of a layer in one launch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lic_fast.kernels.common import multiprocessors
from lic_fast.kernels.exact import OPTIONS, activated, quantized, store_halves

__all__ = ["edges", "integer_conv2d", "integer_conv2d_kernel", "pack", "tile"]


class Tile(NamedTuple):
    """A program's pixels, output channels and step through the input channels, and its warps."""

    pixels: int
    outputs: int
    inputs: int
    num_warps: int
    num_stages: int


# Triton would compile anew wherever a width or stride is 1, or a multiple of 16 and was not before.
_NOT_SPECIALIZED = [
    *("pixels", "height", "width", "out_height", "out_width", "group_inputs", "group_outputs"),
    *(f"{of}_{along}" for of in ("x", "residual", "out") for along in ("image", "row", "column")),
]


@triton.jit(do_not_specialize=_NOT_SPECIALIZED)
def integer_conv2d_kernel(
    low_ptr,
    high_ptr,
    weight_ptr,
    edges_ptr,
    bias_ptr,
    scale_ptr,
    residual_ptr,
    inverse_step_ptr,
    zero_ptr,
    out_ptr,
    out_high_ptr,
    pixels,
    height,
    width,
    out_height,
    out_width,
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
    SIDE: tl.constexpr,
    STRIDE: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_I: tl.constexpr,
):
    """Widths of groups and strides are in units of elements; the stride of channels is one element.

    That they are multiples of a unit of 16 is what lets the compiler read and write vectors.
    What is None is left out: the high half of the activations, the residual, and the quantizer,
    without which `out_ptr` is of float32. `out_high_ptr` is for outputs of 14 bits. Windows are
    2 SIDE + 1 wide.
    """
    PLACES: tl.constexpr = (2 * SIDE + 1) * (2 * SIDE + 1)
    group_inputs *= UNIT
    group_outputs *= UNIT
    group = tl.program_id(2)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    present = pixel < pixels
    exists = channel < group_outputs
    column = pixel % out_width
    row = pixel // out_width % out_height
    image = (pixel // out_width // out_height).to(tl.int64)

    start = image * x_image + row.to(tl.int64) * STRIDE * x_row + column * STRIDE * x_column
    centre = start * UNIT + group * group_inputs
    weights = weight_ptr + group.to(tl.int64) * PLACES * group_inputs * group_outputs
    total = tl.zeros((BLOCK_P, BLOCK_O), tl.int32)
    total_high = tl.zeros((BLOCK_P, BLOCK_O), tl.int32)
    for step in range(PLACES * tl.cdiv(group_inputs, BLOCK_I)):
        place = step % PLACES
        down = place // (2 * SIDE + 1) - SIDE
        right = place % (2 * SIDE + 1) - SIDE
        source = step // PLACES * BLOCK_I + tl.arange(0, BLOCK_I)
        given = source < group_inputs
        r = row * STRIDE + down
        c = column * STRIDE + right
        inside = present & (r >= 0) & (r < height) & (c >= 0) & (c < width)
        at = (centre + (down * x_row + right * x_column) * UNIT)[:, None] + source[None, :]
        mask = inside[:, None] & given[None, :]
        # Neighbours along the summed channels are neighbours in memory: bytes cannot be transposed
        # on the way to the tensor cores.
        weight = tl.load(
            weights + (place * group_outputs + channel)[None, :] * group_inputs + source[:, None],
            mask=given[:, None] & exists[None, :],
            other=0,
        )
        low = tl.load(low_ptr + at, mask=mask, other=0)
        total = tl.dot(low, weight, total, out_dtype=tl.int32)
        if high_ptr is not None:
            high = tl.load(high_ptr + at, mask=mask, other=0)
            total_high = tl.dot(high, weight, total_high, out_dtype=tl.int32)

    target = group * group_outputs + channel
    there = present[:, None] & exists[None, :]
    if high_ptr is not None:
        total += total_high * 128
    if edges_ptr is not None:
        for place in range(PLACES):
            r = row * STRIDE + place // (2 * SIDE + 1) - SIDE
            c = column * STRIDE + place % (2 * SIDE + 1) - SIDE
            outside = (r < 0) | (r >= height) | (c < 0) | (c >= width)
            edge = place * group_outputs * tl.num_programs(2) + target
            edge = tl.load(edges_ptr + edge, mask=exists, other=0)
            total += tl.where(outside[:, None], edge[None, :], 0)
    total += tl.load(bias_ptr + target, mask=exists, other=0)[None, :]

    scale = tl.load(scale_ptr + target, mask=exists, other=0.0)
    value = total.to(tl.float32) * scale[None, :]
    rows = row.to(tl.int64)
    if residual_ptr is not None:
        start = (image * residual_image + rows * residual_row + column * residual_column) * UNIT
        value += tl.load(residual_ptr + start[:, None] + target[None, :], mask=there, other=0.0)
    value = activated(value, ACTIVATION)
    at = ((image * out_image + rows * out_row + column * out_column) * UNIT)[:, None]
    at += target[None, :]
    if inverse_step_ptr is None:
        tl.store(out_ptr + at, value, mask=there)
    else:
        inverse_step = tl.load(inverse_step_ptr + target, mask=exists, other=0.0)[None, :]
        zero = tl.load(zero_ptr + target, mask=exists, other=0)[None, :]
        activations = quantized(value, inverse_step, zero, 7 if out_high_ptr is None else 14)
        store_halves(out_ptr, out_high_ptr, at, activations, there)


# From large to small. Large tiles read less for each product; the maps of the slice and hyper
# networks, 1536 and 384 pixels of a 768x512 picture, need small ones, or most of the device has
# nothing to do. None of them spills registers on sm_80, sm_90 or gfx942, with two halves either.
_TILES = (
    Tile(128, 64, 64, 8, 3),
    Tile(64, 64, 128, 4, 3),
    Tile(64, 32, 128, 4, 3),
    Tile(32, 32, 128, 4, 4),
    Tile(16, 32, 128, 2, 4),
)
_LEAST_INPUTS = 32  # of a product of bytes on a tensor core


def tile(pixels: int, group_inputs: int, group_outputs: int, groups: int, processors: int) -> Tile:
    """The largest tile of which there are enough to occupy every multiprocessor.

    Its step through the input channels is no wider than they are.
    """
    chosen = _TILES[-1]
    for candidate in _TILES:
        programs = (
            triton.cdiv(pixels, candidate.pixels)
            * triton.cdiv(group_outputs, candidate.outputs)
            * groups
        )
        if programs >= processors:
            chosen = candidate
            break
    inputs = max(_LEAST_INPUTS, triton.next_power_of_2(group_inputs))
    return chosen._replace(inputs=min(inputs, chosen.inputs))


def pack(weight: Tensor, groups: int = 1) -> Tensor:
    """The weights in the order in which the kernel reads them; made once per layer.

    Args:
        weight: (M, N / groups, k, k) int8.
        groups: That M divides into.

    Returns:
        (groups, k * k, M / groups, N / groups) contiguous.
    """
    outputs, inputs, side, _ = weight.shape
    by_group = weight.reshape(groups, outputs // groups, inputs, side * side)
    return by_group.permute(0, 3, 1, 2).contiguous()


def edges(weight: Tensor, border: Sequence[Tensor], groups: int = 1) -> Tensor:
    """What each place of the window adds where it is beyond the edge; made once per layer.

    Args:
        weight: (M, N / groups, k, k) int8.
        border: (N,) uint8, once or for both halves, the high one first.
        groups: That M and N divide into.

    Returns:
        (k * k, M) int32 contiguous.
    """
    outputs, inputs, side, _ = weight.shape
    beyond = border[0].double()
    if len(border) == 2:
        beyond = 128 * beyond + border[1].double()
    # In float64, whose sums are exact here: products of integers are not on every device.
    by_group = weight.double().view(groups, outputs // groups, inputs, side * side)
    added = (by_group * beyond.view(groups, 1, inputs, 1)).sum(2)
    return added.permute(2, 0, 1).reshape(side * side, outputs).to(torch.int32).contiguous()


def integer_conv2d(
    x: Sequence[Tensor],
    packed: Tensor,
    edges: Tensor,
    bias: Tensor,
    scale: Tensor,
    activation: str,
    residual: Tensor | None,
    quantizer: tuple[Tensor, Tensor] | None,
    *,
    stride: int = 1,
    out: Sequence[Tensor],
) -> None:
    """Writes a layer's map, or its halves, to `out`.

    Maps are (B, C, H, W) with a stride of 1 along the channels: channels last, or some of the
    channels of a wider map in that layout. Halves have the same strides.

    Args:
        x: One or two maps (B, N, H, W) of uint8 in 0..127, the high half first.
        packed: (groups, k * k, M / groups, N / groups) int8, see :func:`pack`.
        edges: (k * k, M) int32, see :func:`edges`.
        bias: (M,) int32.
        scale: (M,) float32.
        activation: "none", "relu", "leaky_relu" or "gelu".
        residual: (B, M, H', W') float32, or None.
        quantizer: The next layer's inverse step, (M,) float32, and zero, (M,) int32, or None.
        stride: Steps along rows and columns.
        out: (B, M, H', W'): without a quantizer one map of float32, which may be the residual;
            with one a map of uint8, or the high and the low half of 14 bits.
    """
    groups, places, group_outputs, group_inputs = packed.shape
    batch, _, height, width = x[0].shape
    out_height, out_width = triton.cdiv(height, stride), triton.cdiv(width, stride)
    pixels = batch * out_height * out_width
    if pixels == 0:
        return
    processors = multiprocessors(x[0].device)
    chosen = tile(pixels, group_inputs, group_outputs, groups, processors)
    grid = (
        triton.cdiv(pixels, chosen.pixels),
        triton.cdiv(group_outputs, chosen.outputs),
        groups,
    )
    widths = [group_inputs, group_outputs, *_strides(x[0]), *_strides(residual), *_strides(out[0])]
    unit = 16 if all(width % 16 == 0 for width in widths) else 1
    low, high = _halves([half.view(torch.int8) for half in x])
    out_low, out_high = _halves(out)
    inverse_step, zero = quantizer or (None, None)
    with torch.cuda.device_of(packed):
        integer_conv2d_kernel[grid](
            low,
            high,
            packed,
            edges if places > 1 else None,
            bias,
            scale,
            residual,
            inverse_step,
            zero,
            out_low,
            out_high,
            pixels,
            height,
            width,
            out_height,
            out_width,
            *(width // unit for width in widths),
            UNIT=unit,
            SIDE=round(places**0.5) // 2,
            STRIDE=stride,
            ACTIVATION=activation,
            BLOCK_P=chosen.pixels,
            BLOCK_O=chosen.outputs,
            BLOCK_I=chosen.inputs,
            num_warps=chosen.num_warps,
            num_stages=chosen.num_stages,
            **OPTIONS,
        )


def _halves(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """The low half and the high one, which is None where there is one map."""
    return maps[-1], maps[0] if len(maps) == 2 else None


def _strides(x: Tensor | None) -> list[int]:
    """Of images, rows and columns; 0 where there is one of them, whose stride may be anything."""
    return [0 if x is None or x.shape[d] == 1 else x.stride(d) for d in (0, 2, 3)]
