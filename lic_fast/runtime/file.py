"""A portable model in a file: its graph, as JSON, beside its weights.

The file is a safetensors file. Its entries are the model's state dict, by which
:func:`lic_fast.load` makes a torch model, and ``program.N``, arrays that the graph needs and that
are no entry. Under the metadata's key ``lic_fast`` stands JSON, described in ``docs/portable.md``:
what the model is, its networks as nodes and steps, in which an array is the name of an entry, and
the SHA-256 of all of it. Nothing here runs code from the file; all numbers are checked before they
are used.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lic_fast.errors import CheckpointError, NoProgramError
from lic_fast.runtime.description import Reader, Writer, read_graph, read_path, within
from lic_fast.runtime.entropy_path import EntropyPath
from lic_fast.runtime.faults import FAULTS, reason
from lic_fast.runtime.graph import Graph

__all__ = ["METADATA", "VERSION", "ModelData", "described", "read", "to_bytes"]

METADATA = "lic_fast"
"""Key of a safetensors file's metadata under which this project's stand, as JSON."""

VERSION = 2
"""Of portable models' files."""

_WITHOUT_GRAPH = 1
"""The version of files that hold a state dict alone."""

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ModelData:
    """All that codes pictures, in arrays.

    Attributes:
        architecture: Name of the model's class.
        multiple: The sides of an input are multiples of this number of pixels.
        z_downsampling: Pixels per hyperlatent along each side.
        fingerprint: Of the model, eight bytes.
        analysis: From pixels to latents.
        synthesis: From latents to pixels.
        hyper_analysis: From latents to hyperlatents.
        path: The entropy path.
        medians: (N,) of the hyperlatents.
        scale_table: (n,), ascending scales of the latents' CDFs.
        z_tables: CDFs, their lengths and offsets, of hyperlatents.
        y_tables: The same of latents.
        gains: (qualities, M) for each of y and its inverse; None in a model of one rate.
    """

    architecture: str
    multiple: int
    z_downsampling: int
    fingerprint: bytes
    analysis: Graph
    synthesis: Graph
    hyper_analysis: Graph
    path: EntropyPath
    medians: npt.NDArray[np.float32]
    scale_table: npt.NDArray[np.float32]
    z_tables: tuple[npt.NDArray[np.int32], ...]
    y_tables: tuple[npt.NDArray[np.int32], ...]
    gains: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None


_GRAPHS = ("analysis", "synthesis", "hyper_analysis")


def to_bytes(data: ModelData, entries: Arrays, arguments: Mapping[str, Any]) -> bytes:
    """The bytes of a file.

    Args:
        data: What it is to hold.
        entries: The model's state dict.
        arguments: Of the model's class, by which :func:`lic_fast.load` makes it.
    """
    writer = Writer(entries)
    graph: dict[str, Any] = {name: writer.graph(getattr(data, name)) for name in _GRAPHS}
    graph["path"] = writer.value(data.path)
    for name in ("medians", "scale_table"):
        graph[name] = writer.array(getattr(data, name))
    for name in ("z_tables", "y_tables", "gains"):
        parts = getattr(data, name)
        graph[name] = None if parts is None else [writer.array(part) for part in parts]
    stated = {
        "portable": VERSION,
        "architecture": data.architecture,
        "arguments": dict(arguments),
        "fingerprint": data.fingerprint.hex(),
        "multiple": data.multiple,
        "z_downsampling": data.z_downsampling,
        "graph": graph,
    }
    every = {name: np.asarray(array, order="C") for name, array in entries.items()}
    every.update(writer.extras)
    stated["sha256"] = _digest(stated, every)
    return save(every, metadata={METADATA: json.dumps(stated, sort_keys=True)})


def described(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a file states of itself.

    Raises:
        CheckpointError: It is damaged, or no portable model's.
    """
    try:
        stated = json.loads(metadata[METADATA])
    except KeyError:
        raise NoProgramError("it holds no portable model, and so no program") from None
    except (ValueError, RecursionError):
        stated = None
    if not isinstance(stated, dict):
        raise CheckpointError(f"its metadata under {METADATA!r} are damaged")
    return stated


def read(path: str | Path) -> ModelData:
    """The model in a file.

    Raises:
        CheckpointError: The file is missing or damaged, holds no portable model, or one of another
            version, or its numbers are not such that they can be computed with.
    """
    try:
        return _read(Path(path))
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from None


def _read(path: Path) -> ModelData:
    if not path.is_file():
        raise CheckpointError("no such file")
    try:
        with safe_open(path, "np") as file:
            stated = described(file.metadata() or {})
            version = stated.get("portable")
            # An export of a model in floating point states no version.
            if version in (None, 0, _WITHOUT_GRAPH) and "sha256" not in stated:
                raise NoProgramError("it holds no graph: lic-fast export writes files that do")
            if version != VERSION:
                raise CheckpointError(
                    f"a portable model of version {version!r}; this lic_fast reads version "
                    f"{VERSION}: export it again"
                )
            entries = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except CheckpointError:
        raise
    except (SafetensorError, OSError, *FAULTS) as error:
        raise CheckpointError(f"damaged, or not a safetensors file: {error}") from None
    # What passes this is a file that was written with a fault, or deliberately wrong.
    try:
        if stated.pop("sha256", None) != _digest(stated, entries):
            raise CheckpointError("damaged: its bytes are not those that were written")
        return _data(stated, entries)
    except CheckpointError:
        raise
    except FAULTS as error:
        raise CheckpointError(f"its graph makes no sense: {reason(error)}") from None


def _data(stated: Mapping[str, Any], entries: Arrays) -> ModelData:
    graph = stated["graph"]
    if not isinstance(graph, dict):
        raise ValueError(f"a {type(graph).__name__} stands for the graph")
    reader = Reader(entries)

    def arrays(name: str, count: int) -> tuple[Any, ...]:
        found = within(name, Reader.arrays, reader, graph[name])
        if len(found) != count:
            raise ValueError(f"{name} are {count} arrays, not {len(found)}")
        return tuple(found)

    return ModelData(
        architecture=reader.text(stated["architecture"]),
        multiple=reader.integer(stated["multiple"], 1, 2**12),
        z_downsampling=reader.integer(stated["z_downsampling"], 1, 2**12),
        fingerprint=_fingerprint(reader.text(stated["fingerprint"])),
        **{name: within(name, read_graph, reader, graph[name]) for name in _GRAPHS},
        path=within("path", read_path, reader, graph["path"]),
        medians=within("medians", Reader.array, reader, graph["medians"]),
        scale_table=within("scale_table", Reader.array, reader, graph["scale_table"]),
        z_tables=arrays("z_tables", 3),
        y_tables=arrays("y_tables", 3),
        gains=None if graph["gains"] is None else arrays("gains", 2),
    )


def _fingerprint(text: str) -> bytes:
    if not re.fullmatch("[0-9a-f]{16}", text):
        raise ValueError(f"{text!r} must be a fingerprint: eight bytes in hexadecimal digits")
    return bytes.fromhex(text)


def _digest(stated: Mapping[str, Any], entries: Arrays) -> str:
    """SHA-256 of what is stated, as JSON with sorted keys, and of all entries by their names."""
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
    for name in sorted(entries):
        array = np.asarray(entries[name], order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
