"""Tiles of windows: where their tokens lie, loads and stores, products.

Parts of the kernels of :mod:`lic_fast.kernels.window_attention`. A block is G windows of W x W
tokens, whose addresses follow from its number; its tensors are (G * W^2, N) where they are loaded
and stored and, if G > 1, (G, W^2, N) where windows are multiplied.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "by_token",
    "by_window",
    "dot",
    "load",
    "load_bias",
    "load_pad",
    "locate",
    "store",
]


@triton.jit
def locate(block, height, width, rows, columns, windows, shift, W: tl.constexpr, G: tl.constexpr):
    """Where the G * W^2 tokens of a block of windows lie.

    Index of each token in the map, whether it is one and not padding, and the region that tells
    tokens apart that only the cyclic shift brought together.
    """
    slot = tl.arange(0, G * W * W)
    window = block * G + slot // (W * W)
    row = window // columns % rows * W + slot % (W * W) // W + shift
    column = window % columns * W + slot % W + shift
    down, across = row >= rows * W, column >= columns * W
    row -= tl.where(down, rows * W, 0)
    column -= tl.where(across, columns * W, 0)
    image = (window // (rows * columns)).to(tl.int64)
    token = (image * height + row) * width + column
    inside = (window < windows) & (row < height) & (column < width)
    return token, inside, 2 * down.to(tl.int32) + across.to(tl.int32)


@triton.jit
def load(base, stride, token, inside, pad, D: tl.constexpr, N: tl.constexpr):
    """(tokens, N): D channels of each token, the padding value where it is padding."""
    channel = tl.arange(0, N)
    pointers = base + token[:, None] * stride + channel[None, :]
    x = tl.load(pointers, mask=inside[:, None] & (channel < D)[None, :], other=0.0)
    if pad is not None:
        x = tl.where(inside[:, None], x, pad[None, :])
    return x


@triton.jit
def load_pad(pad, base, like, D: tl.constexpr, N: tl.constexpr):
    """(N,): D channels of the padding value, in the type that `like` points to."""
    channel = tl.arange(0, N)
    return tl.load(pad + base + channel, mask=channel < D, other=0.0).to(like.dtype.element_ty)


@triton.jit
def store(base, stride, token, inside, x, D: tl.constexpr, N: tl.constexpr):
    """Writes D channels of each token that is not padding."""
    channel = tl.arange(0, N)
    pointers = base + token[:, None] * stride + channel[None, :]
    mask = inside[:, None] & (channel < D)[None, :]
    tl.store(pointers, x.to(base.dtype.element_ty), mask=mask)


@triton.jit
def by_window(x, G: tl.constexpr):
    """(G * T, N) to (G, T, N) where a block has several windows."""
    return x if G == 1 else tl.reshape(x, [G, x.shape[0] // G, x.shape[1]])


@triton.jit
def by_token(x, G: tl.constexpr):
    """The inverse of :func:`by_window`."""
    return x if G == 1 else tl.reshape(x, [G * x.shape[1], x.shape[2]])


@triton.jit
def dot(a, b, PRECISION: tl.constexpr):
    """Product of matrices, or of each window's, summed in float32."""
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def load_bias(bias, position_stride, head_stride, head, W: tl.constexpr, G: tl.constexpr):
    """(T, T), or (1, T, T) where a block has several windows: bias of query and key, float32."""
    token = tl.arange(0, W * W)
    down = (token // W)[:, None] - (token // W)[None, :] + W - 1
    across = (token % W)[:, None] - (token % W)[None, :] + W - 1
    position = down * (2 * W - 1) + across
    x = tl.load(bias + head * head_stride + position * position_stride).to(tl.float32)
    return x if G == 1 else x[None, :, :]
