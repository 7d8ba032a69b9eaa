"""Exceptions that lic_fast raises for bad input.

Each derives from :class:`LicFastError`, and from the built-in exception that a
caller who does not know lic_fast would expect.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ChecksumError",
    "FormatError",
    "ImageError",
    "LatentError",
    "LicFastError",
    "MissingTorchError",
    "ModelMismatchError",
    "NoProgramError",
    "RecipeError",
    "StreamError",
    "TargetError",
    "TrainingError",
]


class LicFastError(Exception):
    """Base of every error that lic_fast raises on purpose."""


class StreamError(LicFastError, ValueError):
    """An entropy-coded stream is cut, lengthened or otherwise impossible."""


class FormatError(LicFastError, ValueError):
    """A ``.lic`` file is not one, is damaged, or is of an unknown version."""


class ChecksumError(FormatError):
    """A checksum does not match: damaged bytes, or symbols decoded differently."""


class LatentError(LicFastError, ValueError):
    """Latents, or the picture made of them, are not finite or far from any trained model's."""


class ModelMismatchError(LicFastError, ValueError):
    """A ``.lic`` file was written with other weights or tables than the model's."""


class CheckpointError(LicFastError, ValueError):
    """A checkpoint cannot be read, or fits none of the models."""


class NoProgramError(CheckpointError):
    """A checkpoint holds no program: it takes torch, as :func:`lic_fast.load` loads it."""


class MissingTorchError(LicFastError, ModuleNotFoundError):
    """Something needs torch, or a package installed with it, and that is not installed."""


class ImageError(LicFastError, ValueError):
    """A picture cannot be read or has a form that lic_fast does not code."""


class TargetError(LicFastError, ValueError):
    """No quality makes the file of a picture so small, or the picture so faithful."""


class RecipeError(LicFastError, ValueError):
    """A training recipe has an unknown key or an impossible value."""


class TrainingError(LicFastError, RuntimeError):
    """A training run cannot start, go on from its checkpoint, or end well."""
