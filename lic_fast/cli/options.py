"""Options that several commands share, declared once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DeviceChoice",
    "DeviceOption",
    "InputPaths",
    "KeepSuffixOption",
    "LayoutChoice",
    "LayoutOption",
    "MaxPixelsOption",
    "ModelOption",
    "OutOption",
    "OverwriteOption",
    "PrecisionChoice",
    "PrecisionOption",
    "QuietOption",
    "SkipExistingOption",
]


class DeviceChoice(str, Enum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class LayoutChoice(str, Enum):
    """Stream layouts, by the names that :class:`lic_fast.stream_layout.StreamLayout` has."""

    lanes = "lanes"
    compressai = "compressai"


class PrecisionChoice(str, Enum):
    """Types of the transforms, by their names in torch; auto is the model's default."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


InputPaths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH",
        help="Files and folders. Folders are searched to any depth; hidden files and "
        "folders in them are left out.",
        show_default=False,
    ),
]
OutOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--out",
        metavar="OUT",
        help="A file, for a single input file; else a folder, made if missing, in which "
        "input folders keep their structure. Default: beside each input.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME|PATH",
        help="A model or a family of the zoo (see `lic-fast models`), or a checkpoint's path. "
        "Default: the zoo's default; to decompress, the zoo's model that wrote the file.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    DeviceChoice,
    typer.Option(
        "--device",
        help="auto takes cuda if there is one, else cpu; compress and decompress take the cpu for "
        "portable models, such as the zoo's.",
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace output files that exist.")
]
SkipExistingOption = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Leave out inputs whose output is there and whole; what was cut short is done again.",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print errors and warnings only, no progress.")
]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        metavar="N",
        help="Refuse pictures of more pixels, before memory is taken for them. "
        "Default: the codec's bound.",
        show_default=False,
    ),
]
KeepSuffixOption = Annotated[
    bool,
    typer.Option(
        "--keep-suffix",
        help="Append the new suffix to the input's whole name instead of replacing its suffix.",
    ),
]
LayoutOption = Annotated[
    LayoutChoice,
    typer.Option(
        "--layout",
        help="Of the streams: lanes is the fast one; compressai has the bytes of compressai.ans.",
    ),
]
PrecisionOption = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        help="Of the transforms. auto: for a portable model bfloat16 where the processor is faster "
        "in it, else float32. Files decode at any.",
    ),
]
