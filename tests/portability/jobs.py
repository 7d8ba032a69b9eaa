"""The models of the matrix, and the latents that every machine is given."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from importlib import resources
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import lic_fast
from lic_fast import zoo
from lic_fast.codec import read_picture
from lic_fast.models import TCM, WACNN, SliceCompressionModel, SymmetricalTransFormer
from lic_fast.models.portable import convert, portable_file
from tests.models.portable.making import portable
from tests.models.tiny import CLASSES, pictures
from tests.shared import has_shared, shared_path

TINY = {f"tiny-{model.__name__}": model for model in CLASSES}
GOLDEN: dict[str, Callable[[], SliceCompressionModel]] = {
    "stf": SymmetricalTransFormer,
    "wacnn": WACNN,
    "tcm_n64": lambda: TCM(N=64),
}
PHOTOGRAPHS = {
    "coffee": Path(str(resources.files("lic_fast.cli") / "data" / "coffee.png")),
    "kodim05": "kodak/kodim05.png",
    "kodim23": "kodak/kodim23.png",
}

SHARED = {
    **dict.fromkeys(TINY),
    **{f"golden-{name}": f"upstream/golden/{name}_a.npz" for name in GOLDEN},
    **{
        f"nano-{name}": path if isinstance(path, str) else None
        for name, path in PHOTOGRAPHS.items()
    },
}
"""Names of the jobs, and the reference data that each one needs."""


@torch.no_grad()
def write_jobs(folder: Path, names: Collection[str]) -> None:
    """A ``.json`` and a ``.npz`` for each job whose reference data are there, and the models."""
    for name in names:
        if SHARED[name] is not None and not has_shared(SHARED[name]):
            continue
        kind, _, which = name.partition("-")
        {"tiny": _tiny, "golden": _golden, "nano": _nano}[kind](folder, name, which)


def _tiny(folder: Path, name: str, which: str) -> None:
    model = portable(TINY[name])
    path = folder / f"{name}.safetensors"
    path.write_bytes(portable_file(model))
    # What these weights make of a picture are zeros; other latents code as well.
    generator = torch.Generator().manual_seed(1)
    x = pictures(TINY[name])
    y = 4 * torch.randn(model.analysis(x).shape, generator=generator)
    z = 3 * torch.randn(model.h_a(y).shape, generator=generator)
    _write(folder, name, model, path, y, z)


def _golden(folder: Path, name: str, which: str) -> None:
    golden = np.load(shared_path(SHARED[name]))
    sys.path.insert(0, str(shared_path("upstream")))
    try:
        import weights  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    net = weights.fill(GOLDEN[which](), int(golden["seed"]), float(golden["gain"])).eval()
    net.update()
    x = _tensor(golden["image"])
    # Weights go to their nearest integers: to round them well takes minutes, and the same
    # arithmetic follows.
    with mock.patch.object(convert, "covariances", return_value={}):
        model = lic_fast.make_portable(net, [x[:, :, :, :128], x[:, :, :, 128:]])
    path = folder / f"{name}.safetensors"
    path.write_bytes(portable_file(model))
    y, z = _latents(model, x[:, :, :128])
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    _write(folder, name, model, path, y, z + 2 * noise)


def _nano(folder: Path, name: str, which: str) -> None:
    path = PHOTOGRAPHS[which]
    pixels = read_picture(shared_path(path) if isinstance(path, str) else path).pixels
    model = zoo.load()
    model.precision = "float32"
    latents = _latents(model, _tensor(pixels[64:320, 128:512]))
    _write(folder, name, model, zoo.path(zoo.DEFAULT), *latents, ["lanes", "compressai"])


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def _latents(model: SliceCompressionModel, x: Tensor) -> tuple[Tensor, Tensor]:
    y = model.analysis(x)
    return y, model.h_a(y)


def _write(
    folder: Path,
    name: str,
    model: SliceCompressionModel,
    path: Path,
    y: Tensor,
    z: Tensor,
    layouts: Collection[str] = ("lanes",),
) -> None:
    z_symbols = (z - model._medians()).round()[0].int().numpy()
    latents = folder / f"{name}.npz"
    np.savez(latents, y=y.contiguous().numpy(), z=z_symbols)
    job = {
        "name": name,
        "model": str(path),
        "latents": str(latents),
        "layouts": list(layouts),
        "tiny": name in TINY,
        # Every layer by itself takes time; golden weights are those of the widest.
        "traced": not name.startswith("golden"),
    }
    (folder / f"{name}.json").write_text(json.dumps(job))
