"""What more than one kernel needs: activations, exact rounding, and facts about the device."""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl

__all__ = ["dot_precision", "gelu", "multiprocessors"]

# Multiprocessors of an H100. The interpreter has no device, and ahead-of-time compilation none
# either: they take the blocks that one H100 would get.
_H100_MULTIPROCESSORS = 132


@triton.jit
def gelu(x):
    """The exact GELU, x Phi(x), of a float32 block."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


def dot_precision(dtype: torch.dtype) -> str:
    """`input_precision` of ``tl.dot``: float32 products round as PyTorch's would.

    TF32 where ``torch.backends.cuda.matmul.allow_tf32`` is set, else IEEE. It has no
    meaning for 16-bit operands, whose products are exact in float32.
    """
    if dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return "ieee"


def multiprocessors(device: torch.device) -> int:
    """Streaming multiprocessors, or compute units, of the device."""
    if device.type != "cuda":
        return _H100_MULTIPROCESSORS
    index = torch.cuda.current_device() if device.index is None else device.index
    return _multiprocessors(index)


@cache
def _multiprocessors(index: int) -> int:
    return torch.cuda.get_device_properties(index).multi_processor_count
