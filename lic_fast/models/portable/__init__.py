"""Portable models: made from trained ones, written to files and read again."""

from lic_fast.models.portable.convert import make_portable

__all__ = ["make_portable"]
