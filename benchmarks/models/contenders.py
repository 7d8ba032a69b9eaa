"""Who is compared: ways to run one and the same model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

import lic_fast
from benchmarks.models import converted
from lic_fast.models import SliceCompressionModel
from lic_fast.models.portable import portable_file
from lic_fast.models.portable.twins import become_portable

Precision = Literal["float32", "bfloat16", "int8"]


Prepare = Callable[[SliceCompressionModel, Tensor, Path], None]
"""Changes a model for inputs of one shape; the folder is that model's and shape's."""


class UnavailableError(Exception):
    """A contender cannot run here; says why."""


@dataclass(frozen=True)
class Contender:
    """A way to run a model.

    Attributes:
        name: As reports show it.
        backend: That of lic_fast.
        prepare: Makes a model of its own what it is.
        transforms: Type in which the analysis and the synthesis compute.
        entropy_path: Type in which everything else computes.
        cpu_only: Whether there is none on CUDA.
    """

    name: str
    backend: lic_fast.ops.Backend
    prepare: Prepare
    transforms: Precision = "float32"
    entropy_path: Precision = "float32"
    cpu_only: bool = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Runs models as this contender does."""
        with lic_fast.backend(self.backend), torch.no_grad():
            yield

    def model(self, model: SliceCompressionModel, x: Tensor, folder: Path) -> SliceCompressionModel:
        """A model of its own, ready for inputs of the shape of `x`.

        Args:
            model: What it is a copy of.
            x: (B, 3, H, W).
            folder: For files that have to do with this model and this shape.

        Raises:
            UnavailableError: It cannot run here.
        """
        if self.cpu_only and x.device.type != "cpu":
            raise UnavailableError("runs on the CPU only")
        model = copy.deepcopy(model)
        with self.active():
            self.prepare(model, x, folder)
            model.decode(model.encode(x))
        return model


def _as_it_is(model: SliceCompressionModel, x: Tensor, folder: Path) -> None:
    pass


def _compile(model: SliceCompressionModel, x: Tensor, folder: Path) -> None:
    converted.convert_networks(model, x, converted.torch_compile)
    # What is timed is what was compiled: no input differs from the examples.
    with torch._dynamo.config.patch(error_on_recompile=True):
        model.decode(model.encode(x))


def _openvino(precision: str) -> Prepare:
    def prepare(model: SliceCompressionModel, x: Tensor, folder: Path) -> None:
        if find_spec("openvino") is None:
            raise UnavailableError("OpenVINO is not installed")
        compiler = converted.OpenVino(precision, torch.get_num_threads(), folder)
        if precision == "bf16" and not compiler.has_bfloat16():
            raise UnavailableError("this CPU has no bfloat16")
        converted.convert_networks(model, x, compiler)

    return prepare


def _bfloat16(model: SliceCompressionModel, x: Tensor, folder: Path) -> None:
    if not hasattr(model, "precision"):
        raise UnavailableError("the models have no precision but float32")
    model.precision = "bfloat16"


def _portable(model: SliceCompressionModel, x: Tensor, folder: Path) -> None:
    """Calibrated on the input itself, once for a folder.

    For times it matters only that ranges are not exceeded much: where they are, channels are
    read half by half (``csrc/integer/winograd.hpp``). All of the picture is seen, as dozens of
    photographs would show what a part of one does not.
    """
    file = folder / "portable.safetensors"
    if not file.exists():
        source = copy.deepcopy(model).cpu()
        file.write_bytes(portable_file(lic_fast.make_portable(source, [x[:1].cpu()])))
    made = lic_fast.load(file)
    become_portable(model)
    model.load_state_dict(made.state_dict())
    model.to(x.device)
    model.precision = "bfloat16"


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("reference", "reference", _as_it_is),
        Contender("torch.compile", "reference", _compile),
        Contender("openvino f32", "reference", _openvino("f32"), cpu_only=True),
        Contender(
            "openvino bf16",
            "reference",
            _openvino("bf16"),
            transforms="bfloat16",
            entropy_path="bfloat16",
            cpu_only=True,
        ),
        Contender("auto", "auto", _as_it_is),
        Contender("auto bf16", "auto", _bfloat16, transforms="bfloat16"),
        Contender("portable", "auto", _portable, transforms="bfloat16", entropy_path="int8"),
    )
}
