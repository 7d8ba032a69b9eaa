"""Files of portable models, and pictures, for tests of the runtime."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from lic_fast import runtime, zoo
from lic_fast.models import SliceCompressionModel
from lic_fast.models.portable import portable_file
from lic_fast.runtime.model import PortableModel
from tests.models.portable.making import portable, portable_with_gains
from tests.models.tiny import CLASSES

TINY = [*(model.__name__ for model in CLASSES), "gains"]
MODELS = [*TINY, "zoo"]


def torch_model(name: str) -> SliceCompressionModel:
    """One of :data:`TINY`, not to be changed."""
    if name == "gains":
        return portable_with_gains()
    return portable(next(model for model in CLASSES if model.__name__ == name))


@cache
def file_of(name: str) -> bytes:
    """The file of one of :data:`MODELS`."""
    if name == "zoo":
        return zoo.path(zoo.DEFAULT).read_bytes()
    return portable_file(torch_model(name))


def loaded(name: str, precision: str) -> PortableModel:
    """One of :data:`MODELS` in the runtime."""
    return load_bytes(file_of(name), precision)


def load_bytes(data: bytes, precision: str | None = None) -> PortableModel:
    """The model in a file of these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(data)
        if precision is None:
            return runtime.load(path)
        fast = mock.patch(
            "lic_fast.runtime.model.fast_bfloat16", return_value=precision == "bfloat16"
        )
        with fast:
            return runtime.load(path)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Smooth, (H, W, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3))
    rows = np.linspace(0, 4, height)[:, None] - np.arange(5)
    columns = np.linspace(0, 5, width)[:, None] - np.arange(6)
    weights = [np.maximum(0, 1 - np.abs(part)) for part in (rows, columns)]
    return np.rint(np.einsum("hi,wj,ijc->hwc", *weights, coarse)).astype(np.uint8)
