"""Models that come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lic_fast.models import SliceCompressionModel

__all__ = ["DEFAULT", "ZooEntry", "describe", "find", "load", "names", "path"]


@dataclass(frozen=True)
class ZooEntry:
    """What is known of a model before it is loaded.

    Attributes:
        name: Name under which :func:`load` finds it.
        architecture: Name of its class.
        description: One line.
        kodak_bpp: Mean rate on Kodak in bits per pixel, of whole files.
        kodak_psnr: Mean PSNR on Kodak in dB.
        fingerprint: The model's, which files state that were written with it.
    """

    name: str
    architecture: str
    description: str
    kodak_bpp: float
    kodak_psnr: float
    fingerprint: bytes


DEFAULT = "wacnn-nano"

_ENTRIES = {
    entry.name: entry
    for entry in (
        ZooEntry(
            "wacnn-nano",
            "WACNN",
            "7.3 million parameters, lambda 0.013 (MSE), briefly trained on photographs",
            kodak_bpp=0.569,
            kodak_psnr=30.96,
            fingerprint=bytes.fromhex("2da44992dd22ebab"),
        ),
    )
}


def names() -> list[str]:
    """Names of the models."""
    return list(_ENTRIES)


def describe(name: str) -> ZooEntry:
    """What is known of a model.

    Raises:
        KeyError: There is no such model; the message lists those there are.
    """
    if name not in _ENTRIES:
        raise KeyError(f"no model {name!r} in the zoo; there are {', '.join(_ENTRIES)}")
    return _ENTRIES[name]


def find(fingerprint: bytes) -> str | None:
    """Name of the model of that fingerprint, None if it is none of these."""
    for entry in _ENTRIES.values():
        if entry.fingerprint == fingerprint:
            return entry.name
    return None


def path(name: str) -> Path:
    """The model's file.

    Raises:
        KeyError: There is no such model.
    """
    return Path(__file__).parent / f"{describe(name).name}.safetensors"


def load(name: str = DEFAULT, device: str | torch.device = "cpu") -> SliceCompressionModel:
    """A model in evaluation mode, ready to code.

    Raises:
        KeyError: There is no such model.
    """
    from lic_fast.models import load

    return load(path(name), device)
