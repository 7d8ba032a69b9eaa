"""Models that come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lic_fast.lazy import torch_needed

if TYPE_CHECKING:
    import torch

    from lic_fast.models import SliceCompressionModel
    from lic_fast.runtime.model import PortableModel

__all__ = [
    "DEFAULT",
    "ZooEntry",
    "coder",
    "describe",
    "families",
    "find",
    "load",
    "names",
    "path",
    "resolve",
]


@dataclass(frozen=True)
class ZooEntry:
    """What is known of a model before it is loaded.

    Attributes:
        family: Models of one configuration, trained for different rates.
        quality: Number in the family, from 1, the smallest files, up.
        architecture: Name of its class.
        description: One line.
        lambda_: That it was trained for: lambda * 255^2 * MSE + bits per pixel.
        kodak_bpp: Mean rate on Kodak in bits per pixel, of whole files.
        kodak_psnr: Mean PSNR on Kodak in dB.
        fingerprint: The model's, which files state that were written with it.
    """

    family: str
    quality: int
    architecture: str
    description: str
    lambda_: float
    kodak_bpp: float
    kodak_psnr: float
    fingerprint: bytes

    @property
    def name(self) -> str:
        """Name under which :func:`load` finds it."""
        return f"{self.family}-{self.quality}"


def _nano(
    quality: int, lambda_: float, kodak_bpp: float, kodak_psnr: float, fingerprint: str
) -> ZooEntry:
    return ZooEntry(
        "wacnn-nano",
        quality,
        "WACNN",
        "7.3 million parameters, trained on photographs (MSE)",
        lambda_,
        kodak_bpp,
        kodak_psnr,
        bytes.fromhex(fingerprint),
    )


_ENTRIES = {
    entry.name: entry
    for entry in (
        _nano(1, 0.0035, 0.294, 29.41, "82259625782cd959"),
        _nano(2, 0.0067, 0.412, 30.65, "c1cb9f4b5f32e19d"),
        _nano(3, 0.013, 0.553, 31.77, "0905b4d591dad085"),
        _nano(4, 0.025, 0.705, 32.62, "2b7d456f6a54f574"),
    )
}
_QUALITY = 3

DEFAULT = f"wacnn-nano-{_QUALITY}"


def names() -> list[str]:
    """Names of the models."""
    return list(_ENTRIES)


def families() -> dict[str, list[str]]:
    """Names of the models of each family, by rising quality."""
    found: dict[str, list[str]] = {}
    for entry in sorted(_ENTRIES.values(), key=lambda entry: entry.quality):
        found.setdefault(entry.family, []).append(entry.name)
    return found


def resolve(name: str = DEFAULT) -> str:
    """The name of a model, from that of its family or its own.

    Args:
        name: Of a model, or of a family, which stands for its model of middling quality.

    Raises:
        KeyError: There is no such model; the message lists those there are.
    """
    for found in (name, f"{name}-{_QUALITY}"):
        if found in _ENTRIES:
            return found
    raise KeyError(f"no model {name!r} in the zoo; there are {', '.join(_ENTRIES)}")


def describe(name: str) -> ZooEntry:
    """What is known of a model.

    Raises:
        KeyError: There is no such model; the message lists those there are.
    """
    return _ENTRIES[resolve(name)]


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
    return Path(__file__).parent / f"{resolve(name)}.safetensors"


def coder(name: str = DEFAULT) -> PortableModel:
    """A model that codes pictures on the CPU, without PyTorch: for :mod:`lic_fast.codec`.

    Args:
        name: Of a model, or of a family of models.

    Raises:
        KeyError: There is no such model.
    """
    from lic_fast import runtime

    return runtime.load(path(name))


def load(name: str = DEFAULT, device: str | torch.device = "cpu") -> SliceCompressionModel:
    """A torch model in evaluation mode, ready to code.

    ``lic_fast.runtime.load(zoo.path(name))`` is one that codes pictures without torch.

    Args:
        name: Of a model, or of a family of models.
        device: Where it is to run.

    Raises:
        KeyError: There is no such model.
        MissingTorchError: torch is not installed.
    """
    file = path(name)
    with torch_needed("lic_fast.zoo.load"):
        from lic_fast.models import load
    return load(file, device)
