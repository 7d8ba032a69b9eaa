"""Modules whose numbers are part of a format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["FixedDtype"]


class FixedDtype(nn.Module):
    """A module whose buffers change their device but never their type.

    ``model.half()`` and ``model.double()`` leave them as they are: another
    type would be another function.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        return super()._apply(moved, recurse)
