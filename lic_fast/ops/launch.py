"""Which operands go to Triton's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor

from lic_fast.ops.backend import current_backend

__all__ = ["launchable"]

# Triton has no packages for some systems on which torch knows CUDA devices.
_HAS_TRITON = find_spec("triton") is not None

# Kernels number elements with 32 bits, those behind the end in the last block included.
_MOST_ELEMENTS = 2**31 - 2**10


def launchable(
    *operands: Tensor | None,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.bfloat16, torch.float16),
) -> bool:
    """Whether a kernel may take these operands, None being one that is left out.

    That is on the backend "auto", where all are on one CUDA device and dense, of one of the
    types, and of fewer than about 2^31 elements.
    """
    if not _HAS_TRITON or current_backend() == "reference":
        return False
    for x in operands:
        if x is not None and not x.is_cuda:
            return False
    devices = {x.device for x in operands if x is not None}
    return len(devices) == 1 and all(
        x is None
        or (
            x.device.type == "cuda"
            and x.layout == torch.strided
            and x.dtype in dtypes
            and x.numel() <= _MOST_ELEMENTS
        )
        for x in operands
    )
