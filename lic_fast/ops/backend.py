"""Choice between an operator's plain definition and its fused implementation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

__all__ = ["Backend", "backend", "current_backend"]

Backend = Literal["auto", "reference"]

_BACKEND: ContextVar[Backend] = ContextVar("lic_fast_backend", default="auto")


@contextmanager
def backend(name: Backend) -> Iterator[None]:
    """Runs the operators of :mod:`lic_fast.ops` on the named backend.

    Args:
        name: ``"reference"`` for the plain PyTorch definition of every
            operator, ``"auto"`` (the default outside any such block) for the
            fastest implementation that the operands' device and type have.
            The two round differently: a floating-point stream decodes on the
            backend that it was encoded on.

    Raises:
        ValueError: `name` is neither.

    Example:
        >>> with lic_fast.backend("reference"):
        ...     expected = model(x)
    """
    if name not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, not {name!r}")
    token = _BACKEND.set(name)
    try:
        yield
    finally:
        _BACKEND.reset(token)


def current_backend() -> Backend:
    """The backend that operators called here would run on."""
    return _BACKEND.get()
