r"""Shifted-window multi-head self-attention.

For one head of size d inside one window of w x w tokens,

.. math:: O = \mathrm{softmax}(Q K^T / \sqrt{d} + B + M) V

with B the relative position bias and M the mask that keeps apart tokens which
only the cyclic shift brought into one window (Liu et al., "Swin Transformer",
ICCV 2021, equation 4 and section 3.2). The linear maps before and after it are
not part of the operator.

On the CPU, float32 and bfloat16 go to ``csrc/attention``, on GPUs float32, bfloat16
and float16 in windows of 4 or 8 go to :mod:`lic_fast.kernels.window_attention`:
in both, shift, partition, mask and padding are addresses and no window tensor
exists, and gradients are computed the same way. Everything else goes to the
definitions, :func:`reference` and :func:`reference_backward`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.backend import current_backend
from lic_fast.ops.threads import threads
from lic_fast.ops.windows import merge, partition, separated

__all__ = ["reference", "reference_backward", "relative_position_index", "window_attention"]

# What csrc/attention takes.
_LARGEST_CPU_WINDOW = 16
# What the Triton kernels take, known without importing Triton.
_GPU_WINDOWS = (4, 8)
_LARGEST_GPU_HEAD = 64
_GPU_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def relative_position_index(window_size: int, device: torch.device | None = None) -> Tensor:
    """Index of each pair of tokens into a table of (2w-1)^2 relative positions.

    Args:
        window_size: Side w of the window in tokens.
        device: Where it is made; the default device if None.

    Returns:
        (w*w, w*w) int64; entry [i, j] is (dr + w - 1) * (2w - 1) + dc + w - 1
        for the row and column distances dr, dc from token j to token i.
    """
    side = torch.arange(window_size, device=device)
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
    if qkv.device.type == "cuda":  # ROCm's devices have this name too
        return (
            qkv.dtype in _GPU_DTYPES
            and bias_table.dtype in _GPU_DTYPES
            and window_size in _GPU_WINDOWS
            and qkv.shape[3] <= 3 * _LARGEST_GPU_HEAD * bias_table.shape[1]
        )
    return (
        qkv.device.type == "cpu"
        and qkv.dtype in (torch.float32, torch.bfloat16)
        and bias_table.dtype == torch.float32
        and window_size <= _LARGEST_CPU_WINDOW
    )


@lru_cache
def _triton_kernels(device: torch.device) -> ModuleType | None:
    """The Triton kernels, imported on first use, if Triton is there and knows the device."""
    if find_spec("triton") is None:
        return None
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return None
    from lic_fast.kernels import window_attention as kernels

    return kernels


@torch.library.custom_op("lic_fast::window_attention", mutates_args=(), device_types="cpu")
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
        threads(),
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


@_fused.register_kernel("cuda")
def _forward_on_gpu(
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
) -> Tensor:
    kernels = _triton_kernels(qkv.device)
    if kernels is None:
        operands = _of_one_dtype(qkv, bias_table, pad_value)
        return reference(*operands, window_size, shift, mask_value, scale).contiguous()
    return kernels.forward(qkv, bias_table, pad_value, window_size, shift, mask_value, scale)


def _of_one_dtype(
    qkv: Tensor, bias_table: Tensor, pad_value: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The operands as the definition asks for them; autocast leaves parameters in float32."""
    pad_value = None if pad_value is None else pad_value.to(qkv.dtype)
    return qkv, bias_table.to(qkv.dtype), pad_value


@torch.library.custom_op("lic_fast::window_attention_backward", mutates_args=(), device_types="cpu")
def _fused_backward(
    grad: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
    output_mask: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of qkv, table and padding value; empty where `output_mask` does not ask for one.

    Everything is computed again: nothing of a window's size is kept in between.
    """
    grads: tuple[Tensor | None, ...]
    if current_backend() == "reference" or not _fusible(qkv, bias_table, window_size):
        operands = _of_one_dtype(qkv, bias_table, pad_value)
        grads = reference_backward(grad, *operands, window_size, shift, mask_value, scale)
    else:
        grads = _gradients_on_cpu(
            grad, qkv, bias_table, pad_value, window_size, shift, mask_value, scale, output_mask[2]
        )
    return _wanted(grads, (qkv, bias_table, pad_value), output_mask)


def _gradients_on_cpu(
    grad: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
    needs_pad: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    pad = None if pad_value is None else pad_value.float()
    grad_qkv, grad_table = qkv.new_empty(qkv.shape), bias_table.new_empty(bias_table.shape)
    grad_pad = pad.new_empty(pad.shape) if needs_pad and pad is not None else None
    _C.window_attention_backward(
        _array(grad.to(qkv.dtype)),
        _array(qkv),
        _array(bias_table),
        None if pad is None else _array(pad),
        _array(grad_qkv),
        _array(grad_table),
        None if grad_pad is None else _array(grad_pad),
        window_size,
        shift,
        scale,
        mask_value,
        threads(),
    )
    return grad_qkv, grad_table, grad_pad


@_fused_backward.register_kernel("cuda")
def _backward_on_gpu(
    grad: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
    output_mask: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    kernels = _triton_kernels(qkv.device)
    if kernels is None:
        operands = _of_one_dtype(qkv, bias_table, pad_value)
        grads = reference_backward(grad, *operands, window_size, shift, mask_value, scale)
    else:
        grads = kernels.backward(
            grad,
            qkv,
            bias_table,
            pad_value,
            window_size,
            shift,
            mask_value,
            scale,
            needs_bias=output_mask[1],
            needs_pad=output_mask[2],
        )
    return _wanted(grads, (qkv, bias_table, pad_value), output_mask)


def _wanted(
    grads: tuple[Tensor | None, ...], operands: tuple[Tensor | None, ...], output_mask: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Dense gradients in their operands' types: an operator has as many results each time."""
    like = grads[0]
    assert like is not None
    first, second, third = (
        grad.to(operand.dtype).contiguous()
        if wanted and grad is not None and operand is not None
        else like.new_empty(0)
        for grad, operand, wanted in zip(grads, operands, output_mask, strict=True)
    )
    return first, second, third


@_fused_backward.register_fake
def _(
    grad: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
    output_mask: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = (
        operand.new_empty(operand.shape) if wanted and operand is not None else qkv.new_empty(0)
        for operand, wanted in zip((qkv, bias_table, pad_value), output_mask, strict=True)
    )
    return first, second, third


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv, bias_table, pad_value, *ctx.numbers = inputs
    ctx.save_for_backward(qkv, bias_table, pad_value)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad[:3])
    grads = torch.ops.lic_fast.window_attention_backward(
        grad, *ctx.saved_tensors, *ctx.numbers, wanted
    )
    return (
        *(x if needed else None for x, needed in zip(grads, wanted, strict=True)),
        *(None for _ in ctx.numbers),
    )


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
    height, width = qkv.shape[1:3]
    bias_table = bias_table.to(qkv.dtype)
    heads = bias_table.shape[1]
    padded = _pad(qkv, pad_value, window_size)
    q, k, v = partition(padded, window_size, shift, 3, heads)
    weights = _weights(q, k, bias_table, padded.shape, window_size, shift, mask_value, scale)
    attended = F.dropout(weights, dropout) @ v
    return merge(attended[None], padded.shape, window_size, shift)[:, :height, :width]


def reference_backward(
    grad: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_value: Tensor | None,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    r"""Gradients of :func:`reference`, without dropout, in plain PyTorch.

    With P the softmax and G the gradient of the result,

    .. math::
        dV = P^T G, \quad
        dS = P \circ (G V^T - \mathrm{rowsum}(P \circ G V^T)), \quad
        dQ = s\, dS\, K, \quad dK = s\, dS^T Q

    (Dao et al., "FlashAttention", NeurIPS 2022, appendix B.2). The gradient of
    the table sums dS over windows and pairs of tokens of one relative position,
    that of the padding value sums over the padded tokens.

    Args:
        grad: (B, H, W, C), gradient of the result; the others are as there.
        qkv: See there.
        bias_table: See there.
        pad_value: See there.
        window_size: See there.
        shift: See there.
        mask_value: See there.
        scale: See there.

    Returns:
        Gradients of `qkv`, `bias_table` and, if there is one, `pad_value`.
    """
    height, width = qkv.shape[1:3]
    heads = bias_table.shape[1]
    padded = _pad(qkv, pad_value, window_size)
    q, k, v = partition(padded, window_size, shift, 3, heads)
    (g,) = partition(_pad(grad, None, window_size), window_size, shift, 1, heads)
    weights = _weights(q, k, bias_table, padded.shape, window_size, shift, mask_value, scale)
    grad_weights = g @ v.transpose(-2, -1)
    grad_logits = weights * (grad_weights - (weights * grad_weights).sum(-1, keepdim=True))

    parts = torch.stack(
        [
            grad_logits @ k * scale,
            grad_logits.transpose(-2, -1) @ q * scale,
            weights.transpose(-2, -1) @ g,
        ]
    )
    grad_padded = merge(parts, padded.shape, window_size, shift)
    index = relative_position_index(window_size, bias_table.device).flatten()
    by_pair = grad_logits.sum((0, 1)).permute(1, 2, 0).reshape(-1, heads)
    grad_table = torch.zeros_like(bias_table).index_add_(0, index, by_pair)
    grad_pad = None
    if pad_value is not None:
        bottom, right = grad_padded[:, height:], grad_padded[:, :height, width:]
        grad_pad = bottom.sum((0, 1, 2)) + right.sum((0, 1, 2))
    return grad_padded[:, :height, :width], grad_table, grad_pad


def _pad(x: Tensor, value: Tensor | None, window_size: int) -> Tensor:
    """(B, H, W, C), filled up with (C,), or zero, to whole windows."""
    height, width = x.shape[1:3]
    bottom, right = -height % window_size, -width % window_size
    if bottom or right:
        x = F.pad(x, (0, 0, 0, right, 0, bottom))
        if value is not None:
            x[:, height:] = value
            x[:, :, width:] = value
    return x


def _weights(
    q: Tensor,
    k: Tensor,
    bias_table: Tensor,
    shape: torch.Size,
    window_size: int,
    shift: int,
    mask_value: float,
    scale: float,
) -> Tensor:
    """The softmax, for a padded map of the given shape."""
    tokens, heads = window_size * window_size, bias_table.shape[1]
    logits = (q * scale) @ k.transpose(-2, -1)
    index = relative_position_index(window_size, bias_table.device)
    logits = logits + bias_table[index.flatten()].view(tokens, tokens, heads).permute(2, 0, 1)
    if shift:
        rows, columns = shape[1] // window_size, shape[2] // window_size
        apart = separated(rows, columns, window_size, shift, logits.device)
        logits = logits + torch.where(apart, mask_value, 0.0).to(logits.dtype)[:, None]
    return logits.softmax(-1)
