"""Published results on Kodak, from ``data/kodak.json``, which names their sources."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from lic_fast.cli.curves import Curve, Point

__all__ = ["is_kodak", "references"]


def references() -> list[Curve]:
    """The curves. Nothing here was measured by this project."""
    from importlib import resources

    text = (resources.files("lic_fast.cli") / "data" / "kodak.json").read_text(encoding="utf-8")
    return [
        Curve(
            entry["name"],
            [
                Point(entry["name"], bpp, psnr, ssim)
                for bpp, psnr, ssim in zip(
                    entry["bpp"],
                    entry["psnr_db"],
                    entry.get("ms_ssim", [math.nan] * len(entry["bpp"])),
                    strict=True,
                )
            ],
            "reference",
            entry["source"],
        )
        for entry in json.loads(text)
    ]


def is_kodak(names: Iterable[str]) -> bool:
    """Whether pictures are, by their names, the 24 of the Kodak set."""
    return sorted(name.lower() for name in names) == [f"kodim{i:02d}.png" for i in range(1, 25)]
