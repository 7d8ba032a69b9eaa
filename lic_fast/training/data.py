"""Batches of random crops, each a function of the seed and its number alone.

Nothing that came before matters, so that a run which goes on from a checkpoint sees the
batches that it would have seen. Numbers come from Philox, a generator that counts (Salmon et
al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lic_fast.errors import TrainingError
from lic_fast.training.cache import PictureCache
from lic_fast.training.drawn import draw
from lic_fast.training.recipe import Data

__all__ = ["Batches", "Crops", "anchors_of", "loader"]

# Words of Philox's key beside the seed: one for each kind of choice.
_ORDER, _CROP, _DRAWN, _ANCHOR = 1, 2, 3, 4
_GPU_WORKERS = 4


class Crops(Dataset[Tensor]):
    """Crops by their numbers: each run through the pictures takes one of each, shuffled anew.

    A share of them, ``[data] drawn``, is replaced by drawn pictures; see ``drawn.py``.

    Args:
        cache: The pictures; those smaller than a crop are left out.
        data: The recipe's.

    Raises:
        TrainingError: All pictures are smaller than a crop.
    """

    def __init__(self, cache: PictureCache, data: Data) -> None:
        self.cache = cache
        self.data = data
        self.usable = np.flatnonzero(cache.shapes.min(axis=1) >= data.crop)
        if not len(self.usable):
            raise TrainingError(
                f"all {len(cache)} pictures are smaller than a crop of {data.crop} x {data.crop}"
            )
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __getstate__(self) -> dict[str, object]:
        return {"cache": self.cache, "data": self.data}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _shuffled(self, epoch: int) -> np.ndarray:
        return _generator(self.data.seed, _ORDER, epoch).permutation(self.usable)

    def crop(self, number: int) -> np.ndarray:
        """A crop or a drawn picture, uint8 (crop, crop, 3)."""
        cut = self._cut(number)
        generator = _generator(self.data.seed, _DRAWN, number)
        drawn = generator.random() < self.data.drawn
        return draw(generator, self.data.crop, cut) if drawn else cut

    def _cut(self, number: int) -> np.ndarray:
        """A crop of a picture, not copied."""
        epoch, place = divmod(number, len(self.usable))
        picture = self.cache[int(self._order(epoch)[place])]
        generator = _generator(self.data.seed, _CROP, number)
        side = self.data.crop
        top, left = (int(generator.integers(n - side + 1)) for n in picture.shape[:2])
        cut = picture[top : top + side, left : left + side]
        mirrored = bool(generator.integers(2)) and self.data.flip
        return cut[:, ::-1] if mirrored else cut

    def __getitems__(self, numbers: Sequence[int]) -> Tensor:
        """(B, crop, crop, 3) uint8."""
        batch = np.empty((len(numbers), self.data.crop, self.data.crop, 3), np.uint8)
        for i, number in enumerate(numbers):
            batch[i] = self.crop(number)
        return torch.from_numpy(batch)


def anchors_of(numbers: Sequence[int], anchors: int, seed: int) -> Tensor:
    """The anchor of each crop's quality, (B,) int64, by the crops' numbers.

    Each run of `anchors` consecutive numbers has every anchor once, in an order of its own.
    """
    places = [divmod(number, anchors) for number in numbers]
    orders = {
        run: _generator(seed, _ANCHOR, run).permutation(anchors)
        for run in {run for run, _ in places}
    }
    return torch.tensor([int(orders[run][place]) for run, place in places])


def _generator(seed: int, kind: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, kind], counter=[0, 0, number, 0]))


@dataclass(frozen=True)
class Batches:
    """Numbers of the crops of each step, for one of several processes, without end.

    Attributes:
        first: The first step's number.
        batch: Crops of a step, of all processes.
        rank: This process.
        processes: How many there are; `batch` divides by it.
    """

    first: int
    batch: int
    rank: int = 0
    processes: int = 1

    def __iter__(self) -> Iterator[list[int]]:
        step = self.first
        while True:
            yield self.numbers(step)
            step += 1

    def numbers(self, step: int) -> list[int]:
        """Those of this process in a step."""
        own = self.batch // self.processes
        start = step * self.batch + self.rank * own
        return list(range(start, start + own))


def _as_it_is(batch: Any) -> Any:
    return batch


def loader(crops: Crops, batches: Batches, device: torch.device) -> DataLoader[Tensor]:
    """Batches (B, crop, crop, 3) uint8, cut ahead by other processes where that pays."""
    workers = crops.data.workers
    if workers < 0:
        workers = _GPU_WORKERS if device.type == "cuda" else 0
    return DataLoader(
        crops,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
        # Not fork: torch's threads and a GPU do not survive one.
        multiprocessing_context="spawn" if workers else None,
    )
