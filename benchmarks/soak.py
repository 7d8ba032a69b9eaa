"""Many pictures of random sizes in one process: does memory grow, or a picture come out otherwise?

python -m benchmarks.soak FOLDER --pictures 2000 -o benchmarks/results/soak.md
"""

from __future__ import annotations

import argparse
import os
import random
import time
import zlib
from pathlib import Path

from benchmarks.report import processor, write
from lic_fast import codec, runtime, zoo


def resident() -> float:
    """Memory of this process, in MB."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Codes crops of random sizes, each many times in a random order, and writes a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of PNG files")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--crops", type=int, default=200, help="different pictures among them")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    chance = random.Random(0)
    whole = [codec.read_picture(path).pixels for path in sorted(options.folder.glob("*.png"))]
    crops = []
    for _ in range(options.crops):
        picture = chance.choice(whole)
        height, width = (chance.randint(1, side) for side in picture.shape[:2])
        top = chance.randint(0, picture.shape[0] - height)
        left = chance.randint(0, picture.shape[1] - width)
        crops.append(picture[top : top + height, left : left + width])
    model = runtime.load(zoo.path(zoo.DEFAULT))
    seen: dict[int, tuple[int, int]] = {}
    different = 0
    rows = []
    start = time.perf_counter()
    for i in range(options.pictures):
        which = i if i < len(crops) else chance.randrange(len(crops))
        data = codec.encode_image(crops[which], model)
        pixels = codec.decode_image(data, model).pixels
        found = zlib.crc32(data), zlib.crc32(pixels.tobytes())
        different += seen.setdefault(which, found) != found
        if (i + 1) % max(1, options.pictures // 10) == 0:
            rows.append((i + 1, resident(), time.perf_counter() - start))
    lines = [
        "# Soak",
        "",
        f"`python -m benchmarks.soak FOLDER --pictures {options.pictures}` on Kodak; "
        f"{processor()}. {len(crops)} crops of 1x1 to 768x512 pixels, coded and decoded "
        f"{options.pictures} times in all in one process, in a random order, by the zoo's default "
        f"model without PyTorch. Files or pictures that differed from their first coding: "
        f"{different}.",
        "",
        "| pictures | resident MB | seconds |",
        "|---|---|---|",
        *(f"| {count} | {memory:.0f} | {seconds:.0f} |" for count, memory, seconds in rows),
    ]
    write(lines, options.output)


if __name__ == "__main__":
    main()
