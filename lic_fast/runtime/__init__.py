"""Portable models without PyTorch: pictures to streams and back on the extension and numpy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

# Not by a lazy name: the module would hide the function of its name.
from lic_fast.runtime.threads import set_threads, threads

if TYPE_CHECKING:
    from lic_fast.runtime.model import PortableModel

__all__ = ["load", "set_threads", "threads"]


def load(path: str | Path) -> PortableModel:
    """A portable model, ready to code pictures with :mod:`lic_fast.codec`.

    Args:
        path: A ``.safetensors`` file, as ``lic-fast export`` and
            :func:`lic_fast.models.portable.portable_file` write it.

    Raises:
        NoProgramError: The file holds no program: its model needs torch.
        CheckpointError: It is missing or damaged, of another version, or its numbers make no sense.
    """
    from lic_fast.errors import CheckpointError
    from lic_fast.runtime.file import read
    from lic_fast.runtime.model import PortableModel

    data = read(path)
    try:
        return PortableModel(data)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
