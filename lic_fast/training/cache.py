"""Pictures decoded once, into one file that is mapped into memory.

The file ``<key>.u8`` holds the pixels of all pictures one after another, uint8 in rows of
RGB; ``<key>.json`` their names and sizes. The key is a hash of the names, lengths and dates
of the picture files and of what is done to them, so that another set of pictures is another
cache. Both files are written under other names and moved into place, the index last: a
cache is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lic_fast.codec import PictureWarning, read_picture, write_bytes_atomically
from lic_fast.errors import LicFastError, TrainingError

__all__ = ["PictureCache", "open_cache"]

_VERSION = 1
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class PictureCache:
    """Decoded pictures.

    Attributes:
        key: Tells sets of pictures apart.
        pixels: (bytes,) uint8, all pictures one after another.
        names: Of the files.
        shapes: (pictures, 2) int64, height and width.
        offsets: (pictures,) int64, where each begins.
        problems: Files that could not be read, each with the reason.
    """

    key: str
    pixels: np.ndarray
    names: list[str]
    shapes: np.ndarray
    offsets: np.ndarray
    problems: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        """A picture's pixels, uint8 (H, W, 3), not copied."""
        height, width = (int(side) for side in self.shapes[i])
        first = int(self.offsets[i])
        return self.pixels[first : first + height * width * 3].reshape(height, width, 3)


def open_cache(
    paths: Sequence[Path],
    folder: Path,
    *,
    max_side: int = 0,
    progress: Progress | None = None,
) -> PictureCache:
    """The cache of these pictures, made if it is not there or is not whole.

    Files that cannot be read are left out and named in the result.

    Args:
        paths: Picture files.
        folder: Where caches are kept; made if missing.
        max_side: Pictures with a longer side are shrunk to it; 0 leaves them as they are.
        progress: Told of every picture that is decoded.

    Raises:
        TrainingError: None of the pictures can be read.
        OSError: The cache cannot be written.
    """
    key = _key(paths, max_side)
    found = _read(folder, key)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        _write(paths, folder, key, max_side, progress or (lambda what, done, total: None))
        found = _read(folder, key)
    if found is None:
        raise TrainingError(f"{folder}: the cache that was just written cannot be read")
    if not len(found):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.problems[:3])
        raise TrainingError(f"none of the {len(paths)} pictures can be read: {reasons}")
    return found


def _key(paths: Sequence[Path], max_side: int) -> str:
    described: list[Any] = [_VERSION, max_side]
    for path in paths:
        try:
            status = os.stat(path)
            described.append([os.path.abspath(path), status.st_size, status.st_mtime_ns])
        except OSError:
            described.append([os.path.abspath(path), None, None])
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:24]


def _read(folder: Path, key: str) -> PictureCache | None:
    """The cache, or None if it is not there or damaged."""
    data, index = folder / f"{key}.u8", folder / f"{key}.json"
    try:
        described = json.loads(index.read_bytes())
        names = [str(name) for name in described["names"]]
        shapes = np.array(described["shapes"], dtype=np.int64).reshape(-1, 2)
        problems = [(str(name), str(reason)) for name, reason in described["problems"]]
        size = data.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    lengths = shapes.prod(axis=1) * 3
    if len(names) != len(shapes) or (shapes < 1).any() or int(lengths.sum()) != size:
        return None
    pixels = np.memmap(data, np.uint8, "r") if size else np.zeros(0, np.uint8)
    offsets = np.concatenate([[0], lengths.cumsum()[:-1]]) if len(names) else lengths
    return PictureCache(key, pixels, names, shapes, offsets.astype(np.int64), problems)


def _write(
    paths: Sequence[Path], folder: Path, key: str, max_side: int, progress: Progress
) -> None:
    temporary = folder / f".{secrets.token_hex(8)}.tmp"
    names: list[str] = []
    shapes: list[list[int]] = []
    problems: list[list[str]] = []
    try:
        with temporary.open("xb") as file:
            for i, (path, picture) in enumerate(_decoded(paths, max_side)):
                if isinstance(picture, str):
                    problems.append([os.fspath(path), picture])
                else:
                    names.append(os.fspath(path))
                    shapes.append([*picture.shape[:2]])
                    file.write(picture.tobytes())
                progress("decoding pictures", i + 1, len(paths))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"{key}.u8")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    index = json.dumps({"names": names, "shapes": shapes, "problems": problems})
    write_bytes_atomically(folder / f"{key}.json", index.encode(), overwrite=True)


def _decoded(paths: Sequence[Path], max_side: int) -> Iterator[tuple[Path, np.ndarray | str]]:
    """Each picture, or why there is none, in order; some are decoded ahead, by threads."""
    threads = min(32, os.cpu_count() or 1)
    waiting: deque[tuple[Path, Future[np.ndarray | str]]] = deque()
    # The filters of warnings are a global that threads must not change.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore", PictureWarning)
        for path in paths:
            waiting.append((path, pool.submit(_decode, path, max_side)))
            if len(waiting) > 2 * threads:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()


def _decode(path: Path, max_side: int) -> np.ndarray | str:
    try:
        pixels = read_picture(path).pixels
    except LicFastError as error:
        return str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return error.strerror or str(error)
    longest = max(pixels.shape[:2])
    if not max_side or longest <= max_side:
        return pixels
    height, width = (max(1, round(side * max_side / longest)) for side in pixels.shape[:2])
    shrunk = Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)
    return np.asarray(shrunk)
