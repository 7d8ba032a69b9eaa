"""What a finished run leaves: a model in floating point, a portable one, a plot."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from lic_fast.codec import write_bytes_atomically
from lic_fast.models import SliceCompressionModel
from lic_fast.models.portable import make_portable, portable_file
from lic_fast.training.cache import PictureCache
from lic_fast.training.job import Reporter
from lic_fast.training.plot import plot_run
from lic_fast.training.recipe import Export, Recipe

__all__ = ["FLOAT", "PORTABLE", "calibration", "draw", "write_float", "write_portable"]

FLOAT = "model.safetensors"
PORTABLE = "portable.safetensors"

# Of each picture, from its centre: enough of it, in little time.
_SIDE = 512


def write_float(folder: Path, model: SliceCompressionModel, recipe: Recipe) -> Path:
    """The weights with their tables, in float32, as :func:`lic_fast.load` takes them.

    Args:
        folder: The run's.
        model: With tables.
        recipe: Kept in the file's metadata.
    """
    entries = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
    }
    metadata = {"recipe": json.dumps(recipe.to_tables()), "architecture": model.architecture}
    path = folder / FLOAT
    write_bytes_atomically(path, save(entries, metadata=metadata), overwrite=True)
    return path


def calibration(cache: PictureCache, images: int) -> list[Tensor]:
    """The centres of some of the pictures, evenly chosen, (3, H, W) each in [0, 1]."""
    count = min(images, len(cache))
    centres = []
    for i in range(count):
        picture = cache[i * len(cache) // count]
        top, left = (max(0, side - _SIDE) // 2 for side in picture.shape[:2])
        centre = picture[top : top + _SIDE, left : left + _SIDE]
        centres.append(torch.from_numpy(centre.copy()).permute(2, 0, 1).float() / 255)
    return centres


def write_portable(
    folder: Path,
    model: SliceCompressionModel,
    cache: PictureCache,
    export: Export,
    bits: int,
    reporter: Reporter,
) -> Path:
    """The portable model, calibrated on pictures that it was trained on.

    Args:
        folder: The run's.
        model: With tables.
        cache: The training pictures.
        export: How many of them to take.
        bits: Of activations in the mean and scale networks.
        reporter: Told of the progress.
    """
    pictures = calibration(cache, export.images)
    portable = make_portable(
        model, pictures, bits=bits, float16=export.float16, progress=reporter.working
    )
    path = folder / PORTABLE
    write_bytes_atomically(path, portable_file(portable), overwrite=True)
    return path


def draw(folder: Path, metric: str, reporter: Reporter) -> list[Path]:
    """The plot, if there is matplotlib."""
    if find_spec("matplotlib") is None:
        reporter.note("no plot: it needs matplotlib, pip install 'lic_fast[train]'")
        return []
    path = plot_run(folder, metric)
    return [] if path is None else [path]
