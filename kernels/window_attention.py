r"""Shifted-window multi-head self-attention, forward and backward, each as one kernel.

For one head of size d inside one window of w x w tokens,

.. math:: O = \mathrm{softmax}(Q K^T s + B + M) V

as in :mod:`lic_fast.ops.window_attention`, which has the definition. With P the softmax and G
the gradient of O, the backward kernel computes P again and from it

.. math::
    dV = P^T G, \quad
    dS = P \circ (G V^T - \mathrm{rowsum}(P \circ G V^T)), \quad
    dQ = s\, dS\, K, \quad dK = s\, dS^T Q

(Dao et al., "FlashAttention", NeurIPS 2022, appendix B). The gradient of the bias table is dS
summed over windows and over the pairs of tokens of one relative position, that of the padding
value dK and dV summed over the padded tokens.

Floor: the operator must read Q, K and V and write O, 4 * C * itemsize bytes per token, and the
backward 7 * C * itemsize. Against that stand 4 * w^2 * C operations per token, which tensor
cores hide, and w^2 exponentials per token and head, which in half precision, w = 8 and d = 8
take about as long as the memory does.

Design:

- A program has one head and a run of windows. Tokens are read where they lie: shift, partition,
  mask and padding are index arithmetic, and nothing of a window's size is in memory. Programs of
  the heads of one run are neighbours, so that the heads share the memory transactions of a token
  through the L2 cache.
- A window of 8 x 8 is one tile of 64 tokens. Of windows of 4 x 4, several make a tile: 16 tokens
  are too few for the loads in flight and the tensor cores of a program, and its products are
  batched, each window's by itself.
- The bias of all pairs of tokens stays in registers over the run, in base 2 like the logits.
- Sums and the softmax are float32. Products take the operands' type; float32 is multiplied as
  such unless PyTorch allows TF32 for matrix products.
- Partial gradients of table and padding value are one small float32 tensor per program, which
  PyTorch sums: the result is the same in every run on one device. Inside a program two products
  with a one-hot matrix sum the pairs of each relative position, over rows and then over columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lic_fast.kernels.window_tiles import (
    by_token,
    by_window,
    dot,
    load,
    load_bias,
    load_pad,
    locate,
    store,
)

__all__ = ["DTYPES", "LARGEST_HEAD", "WINDOWS", "backward", "forward", "options"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LARGEST_HEAD = 64
WINDOWS = (4, 8)

_LOG2E = tl.constexpr(1.4426950408889634)
# Relative positions along one axis, 2w - 1 of them, as a side that tl.dot takes.
_SPAN = tl.constexpr(16)

# Numbers that differ from picture to picture and must not compile a kernel anew.
_GEOMETRY = (
    "height",
    "width",
    "rows",
    "columns",
    "windows",
    "heads",
    "blocks_per_program",
    "bias_position_stride",
    "bias_head_stride",
    "shift",
)


@triton.jit
def _exponentials(
    q, k, bias, region, apart, scale, mask_value, G: tl.constexpr, PRECISION: tl.constexpr
):
    """Numerators of the softmax and their sums over the keys; `bias` is in base 2."""
    logits = dot(q, tl.trans(k), PRECISION) * (scale * _LOG2E) + bias
    if apart:
        if G == 1:
            differ = region[:, None] != region[None, :]
        else:
            of_window = tl.reshape(region, [G, region.shape[0] // G])
            differ = of_window[:, :, None] != of_window[:, None, :]
        logits += tl.where(differ, mask_value * _LOG2E, 0.0)
    axis: tl.constexpr = len(logits.shape) - 1
    weights = tl.exp2(logits - tl.max(logits, axis, keep_dims=True))
    return weights, tl.sum(weights, axis, keep_dims=True)


@triton.jit
def _any_apart(block, rows, columns, shift, G: tl.constexpr):
    """Whether a block can have tokens that only the shift brought together."""
    apart = shift > 0
    if G == 1:
        last = (block % columns == columns - 1) | (block // columns % rows == rows - 1)
        apart = apart & last
    return apart


@triton.jit(do_not_specialize=_GEOMETRY)
def forward_kernel(
    qkv,
    bias,
    pad,
    out,
    height,
    width,
    rows,
    columns,
    windows,
    heads,
    blocks_per_program,
    bias_position_stride,
    bias_head_stride,
    shift,
    scale,
    mask_value,
    D: tl.constexpr,
    N: tl.constexpr,
    W: tl.constexpr,
    G: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One head of `blocks_per_program` blocks of G windows of W x W tokens.

    D is the size of a head and N that of its tile; `pad` is None where no token is padding, or
    padding is zero.
    """
    head = tl.program_id(0) % heads
    first = tl.program_id(0) // heads * blocks_per_program
    last = tl.minimum(first + blocks_per_program, tl.cdiv(windows, G))
    own, channels = head * D, heads * D
    bias_2 = load_bias(bias, bias_position_stride, bias_head_stride, head, W, G) * _LOG2E
    pad_q = None if pad is None else load_pad(pad, own, qkv, D, N)
    pad_k = None if pad is None else load_pad(pad, own + channels, qkv, D, N)
    pad_v = None if pad is None else load_pad(pad, own + 2 * channels, qkv, D, N)

    for block in range(first, last):
        token, inside, region = locate(block, height, width, rows, columns, windows, shift, W, G)
        q = load(qkv + own, 3 * channels, token, inside, pad_q, D, N)
        k = load(qkv + own + channels, 3 * channels, token, inside, pad_k, D, N)
        v = load(qkv + own + 2 * channels, 3 * channels, token, inside, pad_v, D, N)
        apart = _any_apart(block, rows, columns, shift, G)
        weights, total = _exponentials(
            by_window(q, G), by_window(k, G), bias_2, region, apart, scale, mask_value, G,
            PRECISION,
        )  # fmt: skip
        attended = dot(weights.to(v.dtype), by_window(v, G), PRECISION) / total
        store(out + own, channels, token, inside, by_token(attended, G), D, N)


@triton.jit
def _store_bias_gradient(partial, by_pair, W: tl.constexpr):
    """(T, T) of query and key to (_SPAN, _SPAN) of row and column distance."""
    T: tl.constexpr = W * W
    # [query row, key row; query column, key column]
    pairs = tl.reshape(by_pair, [W, W, W, W])
    pairs = tl.reshape(tl.permute(pairs, (0, 2, 1, 3)), [T, T])
    pair = tl.arange(0, T)
    distance = pair // W - pair % W + W - 1
    span = tl.arange(0, _SPAN)
    one_hot = (distance[:, None] == span[None, :]).to(tl.float32)
    table = dot(tl.trans(one_hot), dot(pairs, one_hot, "ieee"), "ieee")
    tl.store(partial + span[:, None] * _SPAN + span[None, :], table)


@triton.jit(do_not_specialize=_GEOMETRY)
def backward_kernel(
    grad,
    qkv,
    bias,
    pad,
    grad_qkv,
    bias_partials,
    pad_partials,
    height,
    width,
    rows,
    columns,
    windows,
    heads,
    blocks_per_program,
    bias_position_stride,
    bias_head_stride,
    shift,
    scale,
    mask_value,
    D: tl.constexpr,
    N: tl.constexpr,
    W: tl.constexpr,
    G: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of what :func:`forward_kernel` read; its arguments, and those that are written.

    `bias_partials` (runs, heads, _SPAN, _SPAN) and `pad_partials` (runs, 2, C) are None where
    nobody wants them.
    """
    head = tl.program_id(0) % heads
    run = tl.program_id(0) // heads
    first = run * blocks_per_program
    last = tl.minimum(first + blocks_per_program, tl.cdiv(windows, G))
    own, channels = head * D, heads * D
    bias_2 = load_bias(bias, bias_position_stride, bias_head_stride, head, W, G) * _LOG2E
    pad_q = None if pad is None else load_pad(pad, own, qkv, D, N)
    pad_k = None if pad is None else load_pad(pad, own + channels, qkv, D, N)
    pad_v = None if pad is None else load_pad(pad, own + 2 * channels, qkv, D, N)
    by_pair = tl.zeros([W * W, W * W] if G == 1 else [G, W * W, W * W], tl.float32)
    grad_pad_k, grad_pad_v = tl.zeros([N], tl.float32), tl.zeros([N], tl.float32)

    for block in range(first, last):
        token, inside, region = locate(block, height, width, rows, columns, windows, shift, W, G)
        q = by_window(load(qkv + own, 3 * channels, token, inside, pad_q, D, N), G)
        k = by_window(load(qkv + own + channels, 3 * channels, token, inside, pad_k, D, N), G)
        v = load(qkv + own + 2 * channels, 3 * channels, token, inside, pad_v, D, N)
        v = by_window(v, G)
        # Padding has no output and so no gradient here; as key and value it gets one below.
        g = by_window(load(grad + own, channels, token, inside, None, D, N), G)
        apart = _any_apart(block, rows, columns, shift, G)
        weights, total = _exponentials(q, k, bias_2, region, apart, scale, mask_value, G, PRECISION)
        weights = weights / total
        grad_v = by_token(dot(tl.trans(weights.to(q.dtype)), g, PRECISION), G)
        grad_weights = dot(g, tl.trans(v), PRECISION)
        axis: tl.constexpr = len(weights.shape) - 1
        mean = tl.sum(weights * grad_weights, axis, keep_dims=True)
        grad_logits = weights * (grad_weights - mean)
        if bias_partials is not None:
            by_pair += grad_logits
        grad_logits = grad_logits.to(q.dtype)
        grad_q = by_token(dot(grad_logits, k, PRECISION), G) * scale
        grad_k = by_token(dot(tl.trans(grad_logits), q, PRECISION), G) * scale
        store(grad_qkv + own, 3 * channels, token, inside, grad_q, D, N)
        store(grad_qkv + own + channels, 3 * channels, token, inside, grad_k, D, N)
        store(grad_qkv + own + 2 * channels, 3 * channels, token, inside, grad_v, D, N)
        if pad_partials is not None:
            grad_pad_k += tl.sum(tl.where(inside[:, None], 0.0, grad_k), 0)
            grad_pad_v += tl.sum(tl.where(inside[:, None], 0.0, grad_v), 0)

    if bias_partials is not None:
        if G > 1:
            by_pair = tl.sum(by_pair, 0)
        partial = bias_partials + (run * heads + head).to(tl.int64) * (_SPAN * _SPAN)
        _store_bias_gradient(partial, by_pair, W)
    if pad_partials is not None:
        channel = tl.arange(0, N)
        partial = pad_partials + run.to(tl.int64) * (2 * channels) + own + channel
        tl.store(partial, grad_pad_k, mask=channel < D)
        tl.store(partial + channels, grad_pad_v, mask=channel < D)


def options(
    dtype: torch.dtype, head_size: int, window_size: int, *, backward: bool
) -> dict[str, Any]:
    """Compile-time arguments and launch options of the kernels.

    Args:
        dtype: Of qkv.
        head_size: Channels of a head, at most :data:`LARGEST_HEAD`.
        window_size: 4 or 8.
        backward: Whether for the backward kernel.
    """
    tile = max(16, triton.next_power_of_2(head_size))
    precision = _dot_precision(dtype)
    # Without tensor cores an operand's rows are in registers as a whole.
    scalar = dtype == torch.float32 and precision == "ieee"
    windows = (2 if backward else 4) if scalar else 8 if tile <= 32 else 4
    return {
        "D": head_size,
        "N": tile,
        "W": window_size,
        "G": 1 if window_size == 8 else windows,
        "PRECISION": precision,
        "num_warps": 8 if scalar and window_size == 8 and not backward else 4,
        # Loads ahead of the products, where that costs no spilled registers.
        "num_stages": 1 if scalar or (backward and (window_size == 4 or tile > 16)) else 2,
    }


def _dot_precision(dtype: torch.dtype) -> str:
    if dtype != torch.float32:
        return "ieee"
    matmul = torch.backends.cuda.matmul
    # The older of the two names refuses to answer once a program has used the newer.
    precision = getattr(matmul, "fp32_precision", None)
    allowed = matmul.allow_tf32 if precision is None else precision == "tf32"
    return "tf32" if allowed else "ieee"


class _Launch(NamedTuple):
    """Grid and geometry of one launch."""

    runs: int
    heads: int
    geometry: dict[str, int]
    options: dict[str, Any]
    ragged: bool

    @property
    def grid(self) -> tuple[int]:
        return (self.runs * self.heads,)


def _plan(
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    blocks_per_program: int | None,
    *,
    backward: bool,
) -> _Launch:
    batch, height, width, channels = qkv.shape
    heads = bias_table.shape[1]
    if window_size not in WINDOWS or not 0 <= shift < window_size:
        raise ValueError(f"no kernel for windows of {window_size}, shifted by {shift}")
    if channels % (3 * heads) or not 0 < channels // (3 * heads) <= LARGEST_HEAD:
        raise ValueError(f"no kernel for {channels} channels of qkv in {heads} heads")
    if qkv.dtype not in DTYPES:
        raise TypeError(f"no kernel for {qkv.dtype}")
    if bias_table.shape[0] != (2 * window_size - 1) ** 2:
        raise ValueError(f"a bias table of {bias_table.shape[0]} for windows of {window_size}")
    if pad_value is not None and pad_value.shape != (channels,):
        raise ValueError(f"pad_value must be ({channels},), not {tuple(pad_value.shape)}")
    chosen = options(qkv.dtype, channels // (3 * heads), window_size, backward=backward)
    rows, columns = -(-height // window_size), -(-width // window_size)
    windows = batch * rows * columns
    blocks = -(-windows // chosen["G"])
    if blocks_per_program is None:
        # Long runs save the loads of the bias, and many programs fill the device.
        programs = 8 * _processors(qkv.device)
        blocks_per_program = min(max(1, blocks * heads // programs), 16)
    geometry = {
        "height": height,
        "width": width,
        "rows": rows,
        "columns": columns,
        "windows": windows,
        "heads": heads,
        "blocks_per_program": blocks_per_program,
        "bias_position_stride": bias_table.stride(0),
        "bias_head_stride": bias_table.stride(1),
        "shift": shift,
    }
    ragged = bool(height % window_size or width % window_size)
    return _Launch(-(-blocks // blocks_per_program), heads, geometry, chosen, ragged)


def _processors(device: torch.device) -> int:
    if device.type != "cuda":  # the interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def forward(
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
    *,
    out: Tensor | None = None,
    blocks_per_program: int | None = None,
) -> Tensor:
    """See :func:`lic_fast.ops.window_attention.window_attention`.

    Args:
        qkv: (B, H, W, 3*C) of one of :data:`DTYPES`.
        bias_table: ((2w-1)^2, heads), floating point, of any strides.
        pad_value: (3*C,), floating point, or None.
        window_size: One of :data:`WINDOWS`.
        shift: 0 <= shift < w.
        mask_value: Added to the logits of tokens that only the shift brought together.
        scale: Factor of the products of queries and keys.
        out: (B, H, W, C), contiguous, of the type of qkv, to write to.
        blocks_per_program: How long a run is; chosen by the size of the device if None.

    Returns:
        (B, H, W, C) of the type of qkv.

    Raises:
        TypeError: There is no kernel for this type.
        ValueError: There is none for this window or head, or the operands do not fit.
    """
    launch = _plan(
        qkv, bias_table, pad_value, window_size, shift, blocks_per_program, backward=False
    )
    if out is None:
        out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)
    if out.numel():
        pad = pad_value.contiguous() if launch.ragged and pad_value is not None else None
        with torch.cuda.device_of(qkv):
            forward_kernel[launch.grid](
                qkv.contiguous(), bias_table, pad, out,
                **launch.geometry, scale=scale, mask_value=mask_value, **launch.options,
            )  # fmt: skip
    return out


def backward(
    grad: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
    *,
    needs_bias: bool = True,
    needs_pad: bool = True,
    out: Tensor | None = None,
    blocks_per_program: int | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of :func:`forward`.

    Args:
        grad: (B, H, W, C), gradient of its result, of the type of qkv.
        qkv: As there, and so the arguments up to `scale`.
        bias_table: See there.
        pad_value: See there.
        window_size: See there.
        shift: See there.
        mask_value: See there.
        scale: See there.
        needs_bias: Whether the gradient of the table is wanted.
        needs_pad: Whether that of the padding value is, if there is one.
        out: (B, H, W, 3*C), contiguous, of the type of qkv, to write the gradient of qkv to.
        blocks_per_program: See there.

    Returns:
        Gradients of qkv, in its type, and of `bias_table` and `pad_value`, in
        float32, or None.
    """
    launch = _plan(
        qkv, bias_table, pad_value, window_size, shift, blocks_per_program, backward=True
    )
    grad_qkv = torch.empty_like(qkv, memory_format=torch.contiguous_format) if out is None else out
    pad = pad_value.contiguous() if launch.ragged and pad_value is not None else None
    channels = grad.shape[3]

    def partials(*shape: int) -> Tensor:
        return qkv.new_empty(launch.runs, *shape, dtype=torch.float32)

    bias_partials = partials(launch.heads, _SPAN.value, _SPAN.value) if needs_bias else None
    pad_partials = partials(2, channels) if needs_pad and pad is not None else None
    if grad.numel():
        with torch.cuda.device_of(qkv):
            backward_kernel[launch.grid](
                grad.contiguous(), qkv.contiguous(), bias_table, pad,
                grad_qkv, bias_partials, pad_partials,
                **launch.geometry, scale=scale, mask_value=mask_value, **launch.options,
            )  # fmt: skip

    grad_bias = grad_pad = None
    if bias_partials is not None:
        side = 2 * window_size - 1
        grad_bias = bias_partials.sum(0)[:, :side, :side].flatten(1).T
    if needs_pad and pad_value is not None:
        grad_pad = qkv.new_zeros(3 * channels, dtype=torch.float32)
        # A padded query has no output.
        if pad_partials is not None:
            grad_pad[channels:] = pad_partials.sum(0).flatten()
    return grad_qkv, grad_bias, grad_pad
