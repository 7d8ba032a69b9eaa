"""What short reports share: the name of the processor, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cpuinfo

from lic_fast import rans

__all__ = ["processor", "write"]


def processor() -> str:
    """Its name, its cores, and the most capable instruction set that the extension uses."""
    name = cpuinfo.get_cpu_info().get("brand_raw", "an unknown CPU")
    return f"{name}, {os.cpu_count()} cores, {rans.instruction_sets()[-1]}"


def write(lines: Sequence[str], output: Path | None) -> None:
    """Prints a report, and writes it to a file if one is given."""
    text = "\n".join(lines) + "\n"
    print(text)
    if output is not None:
        output.write_text(text)
