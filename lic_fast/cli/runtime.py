"""From ``--model`` and ``--device`` to a model that is ready to run, without torch where it can."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lic_fast
from lic_fast.cli.console import expected_errors, fail
from lic_fast.cli.options import DeviceChoice, PrecisionChoice
from lic_fast.cli.text import display
from lic_fast.errors import ModelMismatchError, NoProgramError
from lic_fast.lazy import torch_needed

if TYPE_CHECKING:
    from lic_fast.codec import Container, PictureCoder
    from lic_fast.models.base import SliceCompressionModel

__all__ = [
    "ModelFinder",
    "NamedCoder",
    "NamedModel",
    "check_device",
    "check_model",
    "configuration",
    "load_coder",
    "load_model",
    "resolve_device",
]


@dataclass(frozen=True)
class NamedModel:
    """A model, and the name that files made with it state."""

    name: str
    model: SliceCompressionModel

    def refuse_one_rate(self, options: str) -> None:
        """Ends the command with status 2 if the model is of one rate and takes no `options`."""
        _refuse_one_rate(self.name, self.model.anchor_qualities, options)


@dataclass(frozen=True)
class NamedCoder:
    """What codes pictures, and the name that files made with it state."""

    name: str
    coder: PictureCoder

    def refuse_one_rate(self, options: str) -> None:
        """As :meth:`NamedModel.refuse_one_rate`."""
        _refuse_one_rate(self.name, self.coder.anchor_qualities, options)


def _refuse_one_rate(name: str, qualities: list[float], options: str) -> None:
    if not qualities:
        fail(
            f"{options}: the model {display(name)} has no gains, it codes at the one rate "
            "that it was trained for"
        )


def check_device(choice: DeviceChoice) -> None:
    """Ends the command with status 2 if cuda is asked for and absent, with 1 if torch is."""
    if choice is DeviceChoice.cuda:
        with expected_errors():
            resolve_device(choice)


def resolve_device(choice: DeviceChoice) -> str:
    """``cpu`` or ``cuda``; ends the command with status 2 if cuda is asked for and absent."""
    if choice is DeviceChoice.cpu:
        return "cpu"
    with torch_needed(f"--device {choice.value}"):
        import torch
    if torch.cuda.is_available():
        return "cuda"
    if choice is DeviceChoice.cuda:
        built = torch.version.cuda is not None
        why = "torch finds no usable GPU" if built else "this torch is built without CUDA"
        fail(f"--device cuda: {why}; use --device cpu or auto")
    return "cpu"


def load_model(
    name_or_path: str | None,
    device: str,
    precision: PrecisionChoice = PrecisionChoice.auto,
) -> NamedModel:
    """Loads a torch model: of the zoo by its name, else a checkpoint by its path.

    Ends the command with status 2 if there is neither, with status 1 if the checkpoint
    cannot be loaded.

    Args:
        name_or_path: None for the zoo's default.
        device: As torch names it.
        precision: Of the transforms.
    """
    name, path = _found(name_or_path)
    with expected_errors():
        return NamedModel(name, _torch_model(path, device, precision))


def load_coder(
    name_or_path: str | None, device: DeviceChoice, precision: PrecisionChoice
) -> NamedCoder:
    """Loads what codes pictures, as :func:`load_model` loads a torch model.

    A portable model runs on the CPU without torch, unless a GPU or a precision is asked for.

    Args:
        name_or_path: None for the zoo's default.
        device: With auto, a model that needs torch takes a GPU if there is one.
        precision: Of the transforms.
    """
    name, path = _found(name_or_path)
    with expected_errors():
        return NamedCoder(name, _coder(name, path, device, precision))


def check_model(name_or_path: str | None) -> None:
    """Ends the command with status 2 if the zoo has no such model and there is no such file.

    Needs no torch, whose import takes seconds.
    """
    from lic_fast import zoo

    if name_or_path is None or name_or_path in zoo.names() or name_or_path in zoo.families():
        return
    if not os.path.isfile(name_or_path):
        kind = (
            "a folder, not a checkpoint" if os.path.isdir(name_or_path) else "no model and no file"
        )
        known = ", ".join(zoo.names())
        fail(f"--model {display(name_or_path)}: {kind}; the zoo has: {known}")


def _found(name_or_path: str | None) -> tuple[str, Path]:
    """A model's name for the files made with it, and its own file."""
    from lic_fast import zoo

    name = zoo.DEFAULT if name_or_path is None else name_or_path
    if name in zoo.names() or name in zoo.families():
        found = zoo.resolve(name)
        return found, zoo.path(found)
    check_model(name)
    return _label(Path(name)), Path(name)


def _label(path: Path) -> str:
    """A checkpoint's name without folders and suffixes, for the files made with it."""
    return display(path.name).split(".")[0] or display(path.name)


def _coder(name: str, path: Path, device: DeviceChoice, precision: PrecisionChoice) -> PictureCoder:
    if device is DeviceChoice.cuda:
        reason = "--device cuda"
    elif precision is not PrecisionChoice.auto:
        reason = f"--precision {precision.value}"
    else:
        reason = f"the model {name}"
        if path.suffix == ".safetensors":
            from lic_fast import runtime

            with suppress(NoProgramError):
                return runtime.load(path)
    from lic_fast.codec.coder import coder_of

    with torch_needed(reason):
        return coder_of(_torch_model(path, resolve_device(device), precision))


def _torch_model(path: Path, device: str, precision: PrecisionChoice) -> SliceCompressionModel:
    model = lic_fast.load(path, device=device)
    if precision is not PrecisionChoice.auto:
        model.precision = precision.value
    return model


class ModelFinder:
    """The model that each file needs: the one given, else the zoo's that wrote it."""

    def __init__(
        self, given: NamedCoder | None, device: DeviceChoice, precision: PrecisionChoice
    ) -> None:
        self._given = given
        self._device = device
        self._precision = precision
        self._loaded: dict[str, PictureCoder] = {}

    def find(self, container: Container) -> PictureCoder:
        """The model to decode `container` with.

        Raises:
            ModelMismatchError: No model was given and the zoo has none with the
                container's fingerprint. A given model is returned unchecked, since
                decoding compares fingerprints.
        """
        if self._given is not None:
            return self._given.coder
        from lic_fast import zoo

        name = zoo.find(container.fingerprint)
        if name is not None:
            if name not in self._loaded:
                path = zoo.path(name)
                self._loaded[name] = _coder(name, path, self._device, self._precision)
            return self._loaded[name]
        stated = f' "{display(container.model_name)}"' if container.model_name else ""
        raise ModelMismatchError(
            f"written with the model{stated} of fingerprint {container.fingerprint.hex()}, which "
            f"the zoo does not have ({', '.join(zoo.names())}): give its checkpoint with --model"
        )


def configuration(named: NamedModel, device: str) -> dict[str, Any]:
    """What timings and rates depend on, for reports."""
    import platform

    import torch

    return {
        "lic_fast": lic_fast.__version__,
        "model": named.name,
        "architecture": named.model.architecture,
        "fingerprint": named.model.fingerprint().hex(),
        "portable": bool(named.model.portable),
        "precision": named.model.precision,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as cpuinfo:
            for line in cpuinfo:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
