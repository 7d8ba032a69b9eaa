"""Writes the test vectors of docs/portable.md: ``python -m tests.models.portable.make_vectors``.

They are committed and never made anew: what they hold is what files in the world were
written with. A new version of the arithmetic gets vectors of its own.
"""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

import lic_fast
from lic_fast.entropy.coding import SliceEncoder
from lic_fast.models import TCM, WACNN, SliceCompressionModel
from lic_fast.models.portable import portable_file
from lic_fast.models.portable.maps import ENTROPY_PATH
from lic_fast.runtime.coding import encode_messages, hyperlatent_message
from lic_fast.stream_layout import StreamLayout
from tests.models.portable.making import calibration
from tests.models.tiny import ARGUMENTS
from tests.portability.trace import traced

FOLDER = Path(__file__).parent / "vectors"
MODELS: dict[str, type[SliceCompressionModel]] = {"wacnn": WACNN, "tcm": TCM}
NARROW: dict[str, dict[str, Any]] = {
    "wacnn": ARGUMENTS[WACNN]
    | {
        "M": 12,
        "hyper_channels": (8, 8, 8, 8, 4),
        "hyper_synthesis_channels": (5, 6, 8, 8, 12),
        "entropy_channels": (10, 8),
    },
    "tcm": ARGUMENTS[TCM]
    | {"head_dim": (4,) * 6, "N": 4, "M": 10, "hyper_channels": 4, "entropy_channels": (6,)},
}
DECODED_BY = (*ENTROPY_PATH, "entropy_bottleneck", "gaussian_conditional")
Z_SHAPE = (2, 4)


@cache
def model_of(name: str) -> SliceCompressionModel:
    """Portable, and narrower than other tests' models, with few scales: the files are small."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MODELS[name](**NARROW[name]).eval()
    with torch.no_grad():
        for network in net.cc_scale_transforms:
            bias = network[-1].bias
            bias += torch.linspace(0.05, 6, len(bias))
    net.update(scale_table=torch.logspace(-1, 1, 20).tolist(), force=True)
    return lic_fast.make_portable(net, calibration())


@torch.no_grad()
def expected(model: SliceCompressionModel, y: torch.Tensor, z_symbols: np.ndarray) -> Any:
    """The streams of latents, the symbols, what a decoder makes of them, and layers' hashes."""
    z_tables, y_tables = model.cdf_tables()
    encoder = SliceEncoder(y, model.gaussian_conditional.scale_table)
    medians = model._medians()
    with traced(model) as layers:
        latents = model._latents(torch.from_numpy(z_symbols)[None] + medians, encoder)
    layout = StreamLayout.LANES
    arrays = {
        "z_stream": np.frombuffer(
            encode_messages([hyperlatent_message(z_symbols)], z_tables, layout)[0], np.uint8
        ),
        "y_stream": np.frombuffer(
            encode_messages([encoder.message], y_tables, layout)[0], np.uint8
        ),
        "z_symbols": z_symbols.astype(np.int32),
        "y_symbols": np.concatenate([s.ravel() for s, _ in encoder.message]).astype(np.int32),
        "y_hat": latents.y_hat[0].contiguous().numpy(),
        "checksum": np.array(encoder.checksum(z_symbols), np.uint32),
    }
    hashes: dict[str, str] = {}
    for key, digest in layers.items():
        name = key.split()[-1]
        # A module that is called twice gives two maps.
        calls = 1 + sum(known.split()[0] == name for known in hashes)
        hashes[name if calls == 1 else f"{name} {calls}"] = shortened(digest)
    return arrays, hashes


def shortened(digest: np.ndarray) -> str:
    """Enough of a SHA-256 to tell layers apart."""
    return bytes(digest[:8]).hex()


def latents_of(model: SliceCompressionModel, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Random y, some of it far off, so that there are escapes; and symbols of z."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, model.M, 4 * Z_SHAPE[0], 4 * Z_SHAPE[1])
    y = 4 * torch.randn(shape, generator=generator)
    y += 3000 * (torch.rand(shape, generator=generator) < 0.003)
    channels = len(model._medians().flatten())
    z = torch.randn((channels, *Z_SHAPE), generator=generator) * 6
    return y, z.round().int().numpy()


def main() -> None:
    """Writes them."""
    for name in MODELS:
        model = model_of(name)
        file = decoders_part(portable_file(model))
        (FOLDER / f"{name}.safetensors.xz").write_bytes(lzma.compress(file, preset=9))
        arrays, layers = expected(model, *latents_of(model))
        np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
        (FOLDER / f"{name}.json").write_text(json.dumps(layers, indent=0) + "\n")
        print(name, np.count_nonzero(arrays["y_symbols"]), "of", arrays["y_symbols"].size)


def decoders_part(data: bytes) -> bytes:
    """A model's file without what a decoder of latents does not read: the transforms."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    kept = {name: values for name, values in load(data).items() if name.startswith(DECODED_BY)}
    return save(kept, metadata=metadata)


if __name__ == "__main__":
    main()
