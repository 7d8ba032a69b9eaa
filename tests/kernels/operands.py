"""Where the kernels' tests run, and operands for them."""

import pytest
import torch

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
# In the interpreter of triton 3.8, products of bfloat16 blocks are those of their bits as integers,
# and conversions to bfloat16 truncate.
TYPES = [
    torch.float32,
    torch.float16,
    pytest.param(torch.bfloat16, marks=pytest.mark.skipif(not CUDA, reason="needs a GPU")),
]
GUARD = 97  # odd, so that what it guards is not aligned


def guarded(x: torch.Tensor) -> torch.Tensor:
    """A copy on the device, contiguous, with NaN before and behind it."""
    return guarded_like(x).copy_(x)


def guarded_like(x: torch.Tensor) -> torch.Tensor:
    """NaN of x's shape and type, contiguous, with NaN before and behind it."""
    size = x.numel() + 2 * GUARD
    flat = torch.full((size,), float("nan"), dtype=x.dtype, device=DEVICE)
    return flat[GUARD : GUARD + x.numel()].view(x.shape)


def guards_hold(x: torch.Tensor) -> bool:
    """Whether what :func:`guarded_like` gave was written to nowhere but inside."""
    flat = torch.empty(0, dtype=x.dtype, device=x.device).set_(x.untyped_storage())
    return bool(flat[:GUARD].isnan().all()) and bool(flat[-GUARD:].isnan().all())


def moved(x: torch.Tensor) -> torch.Tensor:
    """The tensor on the device, with its strides."""
    flat = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage()).to(DEVICE)
    return flat.as_strided(x.shape, x.stride(), x.storage_offset())


def unit_roundoff(dtype: torch.dtype) -> float:
    """Largest relative error of a rounding to the type."""
    return torch.finfo(dtype).eps / 2
