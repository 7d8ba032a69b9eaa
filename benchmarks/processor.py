"""The name of the processor that figures were measured on."""

from __future__ import annotations

import os

import cpuinfo

from lic_fast import rans

__all__ = ["processor"]


def processor() -> str:
    """Its name, its cores, and the most capable instruction set that the extension uses."""
    name = cpuinfo.get_cpu_info().get("brand_raw", "an unknown CPU")
    return f"{name}, {os.cpu_count()} cores, {rans.instruction_sets()[-1]}"
