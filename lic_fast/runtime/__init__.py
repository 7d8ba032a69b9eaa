"""Portable models without torch: pictures to streams and back on the extension and numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lic_fast.errors import NoProgramError

# Not by a lazy name: the module would hide the function of its name.
from lic_fast.runtime.threads import set_threads, threads

__all__ = ["load", "set_threads", "threads"]


def load(path: str | Path) -> Any:
    """A portable model, ready to code pictures.

    Args:
        path: Of a ``.safetensors`` file.

    Raises:
        NoProgramError: The file holds no program.
        CheckpointError: It cannot be read.
    """
    raise NoProgramError(f"{path}: holds no program")
