"""From a checkpoint to a model."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from lic_fast.errors import CheckpointError
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.portable.files import (
    fill_portable,
    has_integers,
    is_portable,
    stated_fingerprint,
)
from lic_fast.models.state_dict import (
    INTEGERS,
    TABLES,
    normalize_state_dict,
    with_derived_buffers,
)
from lic_fast.models.stf import SymmetricalTransFormer
from lic_fast.models.tcm import TCM
from lic_fast.models.wacnn import WACNN

__all__ = ["MODELS", "build", "build_from_state_dict", "load"]

MODELS: tuple[type[SliceCompressionModel], ...] = (SymmetricalTransFormer, WACNN, TCM)

_WRAPPERS = ("state_dict", "model_state_dict", "model")
# What the absence of an entry, or one of another shape, makes arguments_from_state_dict raise.
_NOT_INFERRED = (KeyError, IndexError, ValueError, ZeroDivisionError, AttributeError)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SUFFIXES = (".pth", ".pth.tar", ".pt", ".safetensors")
_Model = TypeVar("_Model", bound=SliceCompressionModel)


def load(path: str | Path, device: str | torch.device = "cpu") -> SliceCompressionModel:
    """Loads a checkpoint of any of the models, whatever its widths.

    Args:
        path: ``.pth``, ``.pth.tar``, ``.pt`` (read without running any code
            that they hold) or ``.safetensors``; a state dict or a dictionary
            with one under ``state_dict``; with or without a ``module.`` prefix.
        device: Where the model goes.

    Returns:
        The model in evaluation mode, in float32, with its CDF tables made; a portable
        one if that is what the file holds.

    Raises:
        CheckpointError: The file is missing, cannot be read or fits no model; the
            message names what was missing and what was left over.
    """
    content, metadata = _read(Path(path))
    try:
        if is_portable(metadata):
            return _portable(None, content, stated_fingerprint(metadata)).eval().to(device)
        unwrapped = _unwrap(content)
        if has_integers(unwrapped):
            return _portable(None, normalize_state_dict(unwrapped)).eval().to(device)
        entries = _checked(unwrapped)
        entries = {
            name: value.float() if value.is_floating_point() else value
            for name, value in entries.items()
        }
        model = build(_recognize(entries), entries)
        _make_tables(model)
        _check_tables(model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return model.eval().to(device)


def _portable(
    known: type[SliceCompressionModel] | None,
    entries: Mapping[str, Tensor],
    fingerprint: str | None = None,
) -> Any:
    """A portable model, of a class that is known or recognised."""
    architecture: Any = known or _recognize(entries)
    try:
        # Loading must not disturb the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            made = architecture(**architecture.arguments_from_state_dict(entries))
    except (*_NOT_INFERRED, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"no portable {architecture.architecture}: {error!r}") from None
    fill_portable(made, entries, fingerprint)
    _check_tables(made)
    return made


def _read(path: Path) -> tuple[Any, Mapping[str, str]]:
    """What a file holds, and a safetensors file's metadata."""
    if not path.name.endswith(_SUFFIXES):
        raise CheckpointError(f"{path}: a checkpoint's name ends with {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
            return load_file(path), metadata
        return torch.load(path, map_location="cpu", weights_only=True), {}
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: damaged, or holds more than tensors and plain values, which is not loaded "
            "because it could run code. If you trust its author, save its state dict alone: "
            "torch.save(torch.load(path, weights_only=False)['state_dict'], new_path)"
        ) from error
    # What a damaged pickle makes its reader raise is not for us to list.
    except Exception as error:
        raise CheckpointError(f"{path}: damaged, or not a checkpoint: {error}") from error


def _unwrap(content: Any) -> Mapping[str, Tensor]:
    """The state dict in what a file holds."""
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"holds no state dict but a {type(content).__name__}")
    strange = [
        repr(name)
        for name, value in content.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if strange:
        raise CheckpointError(
            f"holds no state dict: {_some(strange)} are not names of tensors; a state dict may "
            f"also stand under one of {', '.join(_WRAPPERS)}"
        )
    return content


def _checked(content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Entries under the model's names, each of a kind that a model can have."""
    entries = normalize_state_dict(content)
    if len(entries) != len(content):
        raise CheckpointError("holds entries twice, with and without a prefix or under two names")
    for name, value in entries.items():
        is_integer = name.endswith(INTEGERS)
        if value.is_quantized or value.dtype not in (_INTEGERS if is_integer else _FLOATS):
            taken = "an integer type" if is_integer else "float16, bfloat16, float32 or float64"
            raise CheckpointError(f"{name} is {value.dtype}, it must be {taken}")
        if value.layout != torch.strided or value.is_meta:
            raise CheckpointError(f"{name} is no plain tensor: {value.layout} on {value.device}")
    faults = {
        "are empty": lambda v: v.numel() == 0,
        "are not finite": lambda v: not bool(v.isfinite().all()),
    }
    for fault, has in faults.items():
        names = [n for n, v in entries.items() if not n.endswith(TABLES) and has(v)]
        if names:
            raise CheckpointError(f"{_some(names)} {fault}")
    return entries


def _make_tables(model: SliceCompressionModel) -> None:
    try:
        model.update()
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"no CDF tables can be made: {error}") from None


def _check_tables(model: SliceCompressionModel) -> None:
    scales = model.gaussian_conditional.scale_table
    if not bool((scales > 0).all() and (scales.diff() > 0).all()):
        raise CheckpointError("gaussian_conditional.scale_table does not ascend from above 0")
    rows = {"entropy_bottleneck": model.entropy_bottleneck.channels}
    rows["gaussian_conditional"] = scales.numel()
    for name, count in rows.items():
        tables = model.get_submodule(name)._quantized_cdf
        if tables.dim() != 2 or len(tables) != count:
            raise CheckpointError(f"{name} has {len(tables)} CDF tables, it needs {count}")
    try:
        model.cdf_tables()
    except (ValueError, IndexError, OverflowError) as error:
        raise CheckpointError(f"its CDF tables are damaged: {error}") from None


def _recognize(entries: Mapping[str, Tensor]) -> type[SliceCompressionModel]:
    """The class that can state its arguments, else the one that shares most names."""
    for model in MODELS:
        try:
            model.arguments_from_state_dict(entries)
        except _NOT_INFERRED:
            continue
        return model

    def shared(model: type[SliceCompressionModel]) -> int:
        with torch.random.fork_rng(devices=[]):
            return len(model().state_dict().keys() & entries.keys())

    return max(MODELS, key=shared)


def build_from_state_dict(model: type[_Model], state_dict: Mapping[str, Any]) -> _Model:
    """See :meth:`SliceCompressionModel.from_state_dict`."""
    unwrapped = _unwrap(state_dict)
    if has_integers(unwrapped):
        return _portable(model, normalize_state_dict(unwrapped))
    entries = _checked(unwrapped)
    return build(model, {name: value.detach().clone() for name, value in entries.items()})


def build(
    model: type[_Model], entries: Mapping[str, Tensor], overrides: Mapping[str, Any] | None = None
) -> _Model:
    """A model that holds the given tensors themselves.

    Args:
        model: Its class.
        entries: Under the model's names.
        overrides: Arguments of the constructor, in the place of those that the entries show.

    Raises:
        CheckpointError: The entries are not those of this class.
    """
    try:
        arguments = model.arguments_from_state_dict(entries)
        unknown = ""
    except _NOT_INFERRED as error:
        # The default widths, to have names to compare with.
        arguments = {}
        unknown = f" (its widths cannot be told: {error!r}; these are the defaults)"
    try:
        # Loading must not disturb the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            net = model(**{**arguments, **(overrides or {})})
    except (ValueError, RuntimeError, MemoryError, ZeroDivisionError) as error:
        raise CheckpointError(f"the widths of a {model.architecture} do not fit: {error}") from None
    complete = with_derived_buffers(entries, net)
    expected = net.state_dict()
    missing = [name for name in expected if name not in complete]
    left_over = [name for name in complete if name not in expected]
    misshapen = [
        f"{name} {tuple(complete[name].shape)} for {tuple(value.shape)}"
        for name, value in expected.items()
        if name in complete and value.numel() and complete[name].shape != value.shape
    ]
    if missing or left_over or misshapen:
        raise CheckpointError(
            f"fits none of {', '.join(m.architecture for m in MODELS)}; closest to "
            f"{model.architecture}{unknown}: missing {_some(missing)}; "
            f"left over {_some(left_over)}; of another shape {_some(misshapen)}"
        )
    net.load_state_dict(complete, assign=True)
    return net


def _some(names: Sequence[str], limit: int = 8) -> str:
    if not names:
        return "nothing"
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
