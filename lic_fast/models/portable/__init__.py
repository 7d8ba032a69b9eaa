"""Portable models: made from trained ones, written to files and read again."""

from lic_fast.models.portable.convert import make_portable
from lic_fast.models.portable.files import largest_sums, portable_file
from lic_fast.models.portable.simulated import Simulation

__all__ = ["Simulation", "largest_sums", "make_portable", "portable_file"]
