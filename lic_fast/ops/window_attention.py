r"""Shifted-window multi-head self-attention.

For one head of size d inside one window of w x w tokens,

.. math:: O = \mathrm{softmax}(Q K^T / \sqrt{d} + B + M) V

with B the relative position bias and M the mask that keeps apart tokens which
only the cyclic shift brought into one window (Liu et al., "Swin Transformer",
ICCV 2021, equation 4 and section 3.2). The linear maps before and after it are
not part of the operator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["relative_position_index", "window_attention"]


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
        qkv: (B, H, W, 3*C): query, key and value of each token, each as the
            run of its heads.
        bias_table: ((2w-1)^2, heads) relative position bias, see
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
    batch, height, width, channels = qkv.shape
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
    scale = q.shape[-1] ** -0.5 if scale is None else scale
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
