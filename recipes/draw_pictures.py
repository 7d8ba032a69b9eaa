"""Writes drawn pictures of each kind as PNGs: for ``lic-fast train --validate``, and to look at.

``python recipes/draw_pictures.py FOLDER``: the same pictures each time, named KIND-NUMBER.png. A
run never sees them, as the seeds of its own pictures have another second word.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from lic_fast.training.drawn import KINDS

# The second word of Philox's key; those of a run are in lic_fast/training/data.py.
_VALIDATION = 1000


def write(folder: Path, count: int, side: int) -> None:
    """Writes `count` pictures (side, side) of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, (name, kind) in enumerate(KINDS.items()):
        for number in range(count):
            philox = np.random.Philox(key=[place, _VALIDATION], counter=[0, 0, number, 0])
            picture = kind(np.random.Generator(philox), side, None)
            Image.fromarray(picture).save(folder / f"{name}-{number}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes drawn pictures of each kind as PNGs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2, help="of each kind (default: 2)")
    parser.add_argument("--side", type=int, default=256, help="in pixels (default: 256)")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.count, arguments.side)
