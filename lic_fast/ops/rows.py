"""Maps as rows of channels, for ``csrc/channels``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["array", "rows_of"]


def rows_of(x: Tensor) -> Tensor:
    """(..., C) as (rows, C): the same memory where the rows are evenly apart, else a copy."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 or rows.shape[1] < 2 else rows.contiguous()


def array(rows: Tensor) -> Any:
    """Rows, or a map, as the extension takes them: bfloat16, which NumPy has not, as its bits."""
    rows = rows.detach()
    return (rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows).numpy()
