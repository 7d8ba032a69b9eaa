r"""Shifted-window multi-head self-attention.

For one head of size d inside one window of w x w tokens,

.. math:: O = \mathrm{softmax}(Q K^T / \sqrt{d} + B + M) V

with B the relative position bias and M the mask that keeps apart tokens which
only the cyclic shift brought into one window (Liu et al., "Swin Transformer",
ICCV 2021, equation 4 and section 3.2). The linear maps before and after it are
not part of the operator.

On the CPU, float32 and bfloat16 go to ``csrc/attention``, where shift, partition, mask and
padding are addresses and no window tensor exists; everything else goes to the
definition, :func:`reference`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.backend import current_backend

__all__ = ["reference", "relative_position_index", "window_attention"]

_LARGEST_FUSED_WINDOW = 16


def relative_position_index(window_size: int) -> Tensor:
    """Index of each pair of tokens into a table of (2w-1)^2 relative positions.

    Args:
        window_size: Side w of the window in tokens.

    Returns:
        (w*w, w*w) int64; entry [i, j] is (dr + w - 1) * (2w - 1) + dc + w - 1
        for the row and column distances dr, dc from token j to token i.
    """
    side = torch.arange(window_size)
    rows, columns = (grid.flatten() for grid in torch.meshgrid(side, side, indexing="ij"))
    dr = rows[:, None] - rows[None, :] + window_size - 1
    dc = columns[:, None] - columns[None, :] + window_size - 1
    return dr * (2 * window_size - 1) + dc


def window_attention(
    qkv: Tensor,
    bias_table: Tensor,
    *,
    window_size: int,
    shift: int = 0,
    mask_value: float = -100.0,
    pad_value: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention inside the windows of a feature map, with a cyclic shift if asked.

    Args:
        qkv: (B, H, W, 3*C), floating point: query, key and value of each token, each as the
            run of its heads.
        bias_table: ((2w-1)^2, heads), of qkv's type or float32: relative position bias, see
            :func:`relative_position_index`.
        window_size: Side w of the square windows.
        shift: Tokens by which the windows are shifted, 0 <= shift < w.
        mask_value: What is added to the logits of tokens that are neighbours
            only through the cyclic shift: -100 in STF and WACNN, -inf in TCM.
        pad_value: (3*C,) query, key and value of the tokens that fill H and W
            up to whole windows; they take part in the attention as in the
            original STF, where the padding comes before the linear map and so
            has its bias as value. Zero if None.
        scale: Factor of the products of queries and keys, d^-1/2 if None.
        dropout: Probability with which attention weights are dropped.

    Returns:
        (B, H, W, C).

    Raises:
        ValueError: The channels do not divide into the table's heads, the
            table's length is not that of the window, or the shift is not
            smaller than the window.
    """
    channels = qkv.shape[3]
    heads = bias_table.shape[1]
    if channels % (3 * heads):
        raise ValueError(f"{channels} channels of qkv do not divide into 3 x {heads} heads")
    if bias_table.shape[0] != (2 * window_size - 1) ** 2:
        raise ValueError(
            f"a window of {window_size} has {(2 * window_size - 1) ** 2} relative positions, "
            f"the bias table {bias_table.shape[0]}"
        )
    if not 0 <= shift < window_size:
        raise ValueError(f"the shift must be in 0..{window_size - 1}, not {shift}")

    scale = (channels // (3 * heads)) ** -0.5 if scale is None else scale
    if current_backend() == "reference" or dropout or not _fusible(qkv, bias_table, window_size):
        return reference(
            qkv, bias_table, pad_value, window_size, shift, mask_value, scale, dropout=dropout
        )
    return torch.ops.lic_fast.window_attention(
        qkv, bias_table, pad_value, window_size, shift, mask_value, scale
    )


def _fusible(qkv: Tensor, bias_table: Tensor, window_size: int) -> bool:
    return (
        qkv.device.type == "cpu"
        and qkv.dtype in (torch.float32, torch.bfloat16)
        and bias_table.dtype == torch.float32
        and window_size <= _LARGEST_FUSED_WINDOW
    )


@torch.library.custom_op("lic_fast::window_attention", mutates_args=())
def _fused(
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
) -> Tensor:
    out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)
    _C.window_attention(
        _array(qkv),
        _array(bias_table),
        None if pad_value is None else _array(pad_value.float()),
        _array(out),
        window_size,
        shift,
        scale,
        mask_value,
        torch.get_num_threads(),
    )
    return out


def _array(tensor: Tensor) -> Any:
    tensor = tensor.detach().contiguous()
    # NumPy has no bfloat16: its bits.
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


@_fused.register_fake
def _(
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
) -> Tensor:
    return qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv, bias_table, pad_value, *ctx.numbers = inputs
    ctx.save_for_backward(qkv, bias_table, pad_value)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Through the definition, computed again: nothing of a window's size is kept in between."""
    operands: list[Any] = [
        None if x is None else x.detach().requires_grad_(needed)
        for x, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
    ]
    with torch.enable_grad():
        out = reference(*operands, *ctx.numbers)
    wanted = [x for x in operands if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(out, wanted, grad, allow_unused=True))
    grads = [next(found) if x is not None and x.requires_grad else None for x in operands]
    return (*grads, *(None for _ in ctx.numbers))


_fused.register_autograd(_backward, setup_context=_setup_context)


def reference(
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
    *,
    dropout: float = 0.0,
) -> Tensor:
    """The definition of :func:`window_attention`, whose arguments it takes, in plain PyTorch."""
    batch, height, width, channels = qkv.shape
    bias_table = bias_table.to(qkv.dtype)
    heads = bias_table.shape[1]
    tokens = window_size * window_size
    bottom, right = -height % window_size, -width % window_size
    if bottom or right:
        qkv = F.pad(qkv, (0, 0, 0, right, 0, bottom))
        if pad_value is not None:
            qkv[:, height:] = pad_value
            qkv[:, :, width:] = pad_value
    rows, columns = (height + bottom) // window_size, (width + right) // window_size

    if shift:
        qkv = qkv.roll((-shift, -shift), (1, 2))
    # (3, B, windows, heads, tokens, head size)
    q, k, v = (
        qkv.reshape(batch, rows, window_size, columns, window_size, 3, heads, -1)
        .permute(5, 0, 1, 3, 6, 2, 4, 7)
        .reshape(3, batch, rows * columns, heads, tokens, -1)
    )
    logits = (q * scale) @ k.transpose(-2, -1)
    index = relative_position_index(window_size).to(bias_table.device)
    logits = logits + bias_table[index.flatten()].view(tokens, tokens, heads).permute(2, 0, 1)
    if shift:
        apart = _separated(rows, columns, window_size, shift).to(logits.device)
        logits = logits + torch.where(apart, mask_value, 0.0).to(logits.dtype)[:, None]
    weights = F.dropout(logits.softmax(-1), dropout)
    out = (weights @ v).view(batch, rows, columns, heads, window_size, window_size, -1)
    out = out.permute(0, 1, 4, 2, 5, 3, 6).reshape(
        batch, rows * window_size, columns * window_size, channels // 3
    )
    if shift:
        out = out.roll((shift, shift), (1, 2))
    return out[:, :height, :width]


def _separated(rows: int, columns: int, window_size: int, shift: int) -> Tensor:
    """(windows, tokens, tokens): whether two tokens met only through the cyclic shift."""
    # A token lies in a wrapped part of the last row or column of windows, or not.
    wrapped = torch.arange(window_size) >= window_size - shift
    down = torch.zeros(rows, window_size, dtype=torch.bool)
    down[-1] = wrapped
    across = torch.zeros(columns, window_size, dtype=torch.bool)
    across[-1] = wrapped
    region = 2 * down[:, None, :, None] + 1 * across[None, :, None, :]
    region = region.reshape(rows * columns, window_size * window_size)
    return region[:, :, None] != region[:, None, :]
