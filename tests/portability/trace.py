"""What every layer of an entropy path gives, hashed: where two machines part is a layer's name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from lic_fast.models import SliceCompressionModel

_LAYERS = "lic_fast.entropy.integer."


@contextmanager
def traced(model: SliceCompressionModel) -> Iterator[dict[str, np.ndarray]]:
    """The SHA-256 of every exact module's output, by its place in the order of calls and its name.

    A module that is watched is called by itself, not as a part of a chain: the modules' own fast
    paths are what runs, where there are such.
    """
    hashes: dict[str, np.ndarray] = {}
    handles = [
        module.register_forward_hook(_hook(name, hashes))
        for name, module in model.named_modules()
        if type(module).__module__.startswith(_LAYERS)
    ]
    assert handles, "no portable model"
    try:
        yield hashes
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, hashes: dict[str, np.ndarray]) -> Any:
    def note(module: torch.nn.Module, arguments: Any, output: torch.Tensor) -> None:
        # Zeros have no sign: the rule promises none, and nothing sees it.
        values = (output.detach().cpu().contiguous() + 0.0).numpy()
        head = f"{values.dtype.str} {values.shape} ".encode()
        digest = hashlib.sha256(head + values.tobytes()).digest()
        hashes[f"layer {len(hashes):03d} {name}"] = np.frombuffer(digest, np.uint8)

    return note
