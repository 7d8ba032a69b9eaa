"""Portable models in files: integers, scales and tables, and the transforms' weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.errors import CheckpointError
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.portable.data import model_data
from lic_fast.models.portable.twins import become_portable
from lic_fast.runtime.description import EXTRA
from lic_fast.runtime.file import METADATA, VERSION, described, to_bytes

__all__ = [
    "fill_portable",
    "has_integers",
    "is_portable",
    "largest_sums",
    "portable_file",
    "stated_fingerprint",
]

_WITHOUT_GRAPH = 1
"""The version of files that hold a state dict alone."""


def portable_file(model: SliceCompressionModel) -> bytes:
    """The bytes of a safetensors file that :func:`lic_fast.load` and the runtime read.

    Weights of the transforms are in float16 where that loses nothing. The
    metadata name the architecture, its arguments and the fingerprint, and hold the
    networks as graphs, which :func:`lic_fast.runtime.load` runs without PyTorch.

    Raises:
        ValueError: The model is not portable, or one of its networks is watched or changed.
    """
    if not model.portable:
        raise ValueError("the model is not portable: make_portable makes one that is")
    entries = {
        name: _compact(value.detach().cpu().contiguous()).numpy()
        for name, value in model.state_dict().items()
    }
    return to_bytes(model_data(model), entries, model.arguments)


def largest_sums(model: SliceCompressionModel) -> dict[str, int]:
    """The largest magnitude that any sum of each integer layer can have, whatever its input.

    It is below 2^31, as building and loading check.
    """
    return {
        name: module.largest_sum()
        for name, module in model.named_modules()
        if isinstance(module, IntegerConv2d)
    }


def _compact(value: Tensor) -> Tensor:
    half = value.half()
    fits = value.dtype == torch.float32 and torch.equal(half.float(), value)
    return half if fits else value.clone()


def is_portable(metadata: Mapping[str, str]) -> bool:
    """Whether a safetensors file's metadata are those of a portable model.

    Raises:
        CheckpointError: They are of a version that this one does not read, or damaged.
    """
    if METADATA not in metadata:
        return False
    stated = described(metadata)
    version = stated.get("portable", 0)
    if version not in (0, _WITHOUT_GRAPH, VERSION):
        raise CheckpointError(
            f"a portable model of version {version!r}; this lic_fast reads version {VERSION}"
        )
    return bool(version)


def has_integers(entries: Mapping[str, Any]) -> bool:
    """Whether a state dict is that of a portable model."""
    return any(name.endswith(".inverse_step") for name in entries)


def stated_fingerprint(metadata: Mapping[str, str]) -> str:
    """The fingerprint that a portable model's file states."""
    return str(described(metadata).get("fingerprint"))


def fill_portable(
    model: SliceCompressionModel, entries: Mapping[str, Tensor], stated: str | None = None
) -> None:
    """Turns a model in floating point, of the right widths, into a portable one.

    Args:
        model: The model that is turned.
        entries: The portable model's state dict.
        stated: Its fingerprint, if that is known.

    Raises:
        CheckpointError: The entries are not those of a portable model, their numbers
            are such that it would not be exact, or they have another fingerprint.
    """
    become_portable(model)
    expected = model.state_dict()
    # Arrays of the graph that are no entries.
    entries = {name: value for name, value in entries.items() if not name.startswith(EXTRA)}
    complete = {}
    for name, wanted in expected.items():
        if name not in entries:
            raise CheckpointError(f"{name} is missing")
        found = entries[name]
        if wanted.is_floating_point() and found.is_floating_point():
            found = found.float()
        tables = wanted.numel() == 0
        if found.dtype != wanted.dtype or (found.shape != wanted.shape and not tables):
            raise CheckpointError(
                f"{name} is {found.dtype} {tuple(found.shape)}, it must be {wanted.dtype} "
                f"{tuple(wanted.shape)}"
            )
        complete[name] = found
    left_over = entries.keys() - expected.keys()
    if left_over:
        raise CheckpointError(f"left over: {', '.join(sorted(left_over)[:8])}")
    model.load_state_dict(complete)
    for name, module in model.named_modules():
        check = getattr(module, "check", None)
        if check is None:
            continue
        try:
            check()
        except ValueError as error:
            raise CheckpointError(f"{name}: {error}") from None
    if stated is not None and stated != model.fingerprint().hex():
        raise CheckpointError(
            f"its numbers have the fingerprint {model.fingerprint().hex()}, not {stated}: the file "
            "was changed after it was written"
        )
