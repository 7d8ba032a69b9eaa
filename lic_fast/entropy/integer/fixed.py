"""Modules whose numbers are part of a format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["FixedDtype", "check_positive"]

# Scales and steps beyond this, or its inverse, would leave the range of float32 between layers.
_SMALLEST = 1e-15


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


def check_positive(module: nn.Module, *names: str) -> None:
    """Refuses scales and steps, as a file may hold them, that are not positive or far off.

    Raises:
        ValueError: One is; the message names it.
    """
    for name in names:
        values = module.get_buffer(name)
        if not bool(((values > _SMALLEST) & (values < 1 / _SMALLEST)).all()):
            raise ValueError(f"{name} must be in {_SMALLEST:g}..{1 / _SMALLEST:g}")
