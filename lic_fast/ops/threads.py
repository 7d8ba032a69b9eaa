"""How many threads an operator takes."""

from __future__ import annotations

import torch

__all__ = ["threads"]


def threads() -> int:
    """How many threads an operator may take: those of PyTorch."""
    return torch.get_num_threads()
