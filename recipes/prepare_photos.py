"""Training and judging photographs made of Debian's wallpapers and other folders of pictures.

    python recipes/prepare_photos.py train/ FOLDER...
    python recipes/prepare_photos.py judge/ FOLDER --whole

Each folder is searched for JPEG and PNG files, such as what
``apt-get download PACKAGE && dpkg -x PACKAGE*.deb PACKAGE`` unpacks. For training:

- Debian: plasma-workspace-wallpapers, mate-backgrounds, lomiri-wallpapers-20.04 and
  ukui-wallpapers;
- the wheels of scikit-image (``skimage/data``) and scikit-learn
  (``sklearn/datasets/images``), unpacked by ``unzip``;
- any folder of other photographs.

For judging, with ``--whole``, and never to be trained on: lomiri-wallpapers-16.04.

``prepare_photos.txt`` lists the files of these packages that are left out: drawings,
renderings, small versions of others, and what of scikit-image is grey or scientific. Symbolic
links are other names of the same picture and are left out too. Collections of photographs may
hold crops of the judging ones: name such files in a list of your own (``--leave-out``).

A large picture has been JPEG coded. It is shrunk by a whole factor of at least 2, each pixel
the mean of a square of them, until its longer side is at most 2048, or 1700 with ``--whole``;
by at least 3 if its file has less than 0.7 bits per pixel, as 8x8 blocks are still seen after
2. For training the same is done at twice the factor, for another distribution of sharpness.
Pictures of at most 1024 pixels a side have been shrunk before and stay as they are.

A training run takes one crop of each file in each epoch, so that a file should stand for an
area of the same size: tiles of 384x384 begin about 288 pixels apart, and overlap so that crops
of 256x256 have room. Of the tiles of a picture that are nearly flat (mean difference of
neighbouring pixels below 2 grey levels) one in four is kept, so that skies do not dominate.

The result is RGB in PNG files, named by where they come from, and the same for the same
pictures and the same Pillow.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

LEFT_OUT = Path(__file__).with_suffix(".txt")
SUFFIXES = {".jpg", ".jpeg", ".png"}

AS_IT_IS = 1024  # pixels of the longer side of pictures that are not shrunk
COARSE = 0.7  # bits per pixel of JPEG files
TRAIN_SIDE, WHOLE_SIDE = 2048, 1700  # pixels of the longer side after shrinking, at most
TILE, STEP = 384, 288
SHORTEST = 256  # pixels of the shorter side; a picture with less gives no files
FLAT, KEEP_FLAT = 2.0, 4  # grey levels; one tile in so many is kept


@dataclass
class Source:
    """What was made of one input.

    Attributes:
        name: The folder's, or the file's.
        photographs: Pictures that something was made of.
        left_out: Pictures that the lists name, or that are too small.
        files: PNG files written.
        pixels: In those files; tiles overlap, so that some count twice.
    """

    name: str
    photographs: int = 0
    left_out: int = 0
    files: int = 0
    pixels: int = 0


def read_patterns(paths: Sequence[Path]) -> list[str]:
    """Patterns of file names, one a line; "#" begins a comment."""
    lines = (line.split("#")[0].strip() for path in paths for line in path.read_text().splitlines())
    return [line for line in lines if line]


def pictures(root: Path) -> Iterator[tuple[Path, str]]:
    """Picture files of a folder in the order of their names, each with its name in there."""
    if root.is_file():
        yield root, root.name
        return
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is neither a folder nor a file")
    found = [
        Path(folder, file)
        for folder, _, files in os.walk(root)
        for file in files
        if Path(file).suffix.lower() in SUFFIXES and not Path(folder, file).is_symlink()
    ]
    for path in sorted(found, key=lambda path: path.relative_to(root).as_posix()):
        yield path, path.relative_to(root).as_posix()


def first_factor(size: tuple[int, int], file_bytes: int, jpeg: bool, side: int) -> int:
    """The smallest whole factor by which a picture may be shrunk; 1 if it stays as it is."""
    if max(size) <= AS_IT_IS:
        return 1
    coarse = jpeg and 8 * file_bytes < COARSE * size[0] * size[1]
    return max(3 if coarse else 2, -(-max(size) // side))


def starts(length: int) -> list[int]:
    """Where the tiles of a picture's row or column begin; one for all of a short one."""
    count = max(1, round(length / STEP))
    return [i * (length - TILE) // (count - 1) for i in range(count)] if count > 1 else [0]


def detail(image: Image.Image) -> float:
    """Mean absolute difference between neighbouring pixels, in grey levels."""
    grey = np.asarray(image.convert("L"), np.int16)
    return float(sum(np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)) / 2)


def tiles(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Overlapping tiles of a picture, each with a name; of nearly flat ones every fourth."""
    rows, columns = starts(image.height), starts(image.width)
    height = TILE if len(rows) > 1 else image.height
    width = TILE if len(columns) > 1 else image.width
    flat = 0
    for top in rows:
        for left in columns:
            tile = image.crop((left, top, left + width, top + height))
            if detail(tile) < FLAT:
                flat += 1
                if flat % KEEP_FLAT != 1:
                    continue
            yield f"-y{top}x{left}", tile


def versions(path: Path, whole: bool) -> Iterator[tuple[str, Image.Image]]:
    """What is made of a picture, each with the end of its name; nothing of a small one."""
    with Image.open(path) as file:
        jpeg = file.format == "JPEG"
        image = ImageOps.exif_transpose(file).convert("RGB")
    side = WHOLE_SIDE if whole else TRAIN_SIDE
    factor = first_factor(image.size, path.stat().st_size, jpeg, side)
    for by in (factor,) if whole or factor == 1 else (factor, 2 * factor):
        scaled = image.reduce(by) if by > 1 else image
        if min(scaled.size) < SHORTEST:
            continue
        for name, tile in [("", scaled)] if whole else tiles(scaled):
            yield f"-{by}{name}", tile


def prepare(
    inputs: Sequence[Path], output: Path, patterns: Sequence[str] = (), *, whole: bool = False
) -> list[Source]:
    """Writes the PNG files and returns what was made of each input.

    Args:
        inputs: Folders or files; the last part of a folder's name begins the names of its files.
        output: A folder that is empty or not there.
        patterns: Pictures to leave out, by their path inside of the folder, as `fnmatch` takes
            them: a "*" goes across slashes.
        whole: One picture each, not cut, instead of tiles at two scales.

    Raises:
        FileExistsError: Something is in the output folder, or two pictures have one name.
        FileNotFoundError: An input is not there.
        PIL.UnidentifiedImageError: A file is no picture.
    """
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty: name a new folder")
    sources = []
    for root in inputs:
        source = Source(root.resolve().name)
        sources.append(source)
        for path, inside in pictures(root):
            if any(fnmatch.fnmatchcase(inside, pattern) for pattern in patterns):
                source.left_out += 1
                continue
            stem = Path(inside).with_suffix("").as_posix().replace("/", "-")
            prefix = f"{source.name}-{stem}" if root.is_dir() else stem
            written = 0
            for end, image in versions(path, whole):
                target = output / f"{prefix}{end}.png"
                if target.exists():
                    raise FileExistsError(f"two pictures make {target.name}: {path} is the second")
                image.save(target)
                written += 1
                source.pixels += image.width * image.height
            source.files += written
            source.photographs += bool(written)
            source.left_out += not written
    return sources


def main() -> None:
    """Prepares the pictures and prints a table of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="folder to be made, or an empty one")
    parser.add_argument("inputs", type=Path, nargs="+", help="folders of pictures, or pictures")
    parser.add_argument("--whole", action="store_true", help="whole pictures, for judging")
    parser.add_argument(
        "--leave-out",
        type=Path,
        action="append",
        default=[LEFT_OUT],
        metavar="LIST",
        help=f"file of patterns of names, one a line, besides {LEFT_OUT.name}",
    )
    arguments = parser.parse_args()
    try:
        patterns = read_patterns(arguments.leave_out)
        sources = prepare(arguments.inputs, arguments.output, patterns, whole=arguments.whole)
    except OSError as error:
        parser.error(str(error))
    print(f"{'source':32}{'photographs':>12}{'left out':>10}{'files':>8}{'megapixels':>12}")
    for s in sources:
        print(f"{s.name:32}{s.photographs:12}{s.left_out:10}{s.files:8}{s.pixels / 1e6:12.1f}")


if __name__ == "__main__":
    main()
