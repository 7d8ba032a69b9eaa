"""What is wrong with a file that states what makes no sense."""

from __future__ import annotations

__all__ = ["FAULTS", "reason"]

FAULTS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""What comes of a file that was deliberately written wrong."""


def reason(error: BaseException) -> str:
    """What one of :data:`FAULTS` says."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
