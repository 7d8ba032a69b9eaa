"""Models whose networks, one by one, have gone through somebody else's compiler."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lic_fast.models import SliceCompressionModel

Convert = Callable[[str, nn.Module, Tensor], Callable[[Tensor], Tensor]]
"""(name, network, example of its input) to the network's replacement."""

_LISTS = (
    "cc_mean_transforms",
    "cc_scale_transforms",
    "lrp_transforms",
    "atten_mean",
    "atten_scale",
)


class _Transform(nn.Module):
    def __init__(self, model: SliceCompressionModel, name: str) -> None:
        super().__init__()
        self.model = model
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        # Of the class: the model's own attribute is going to be the replacement.
        return getattr(type(self.model), self.name)(self.model, x)


class _Network(nn.Module):
    """Anything callable in the place of a module."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.__dict__["run"] = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def convert_networks(model: SliceCompressionModel, x: Tensor, convert: Convert) -> None:
    """Replaces the transforms, the hyper networks and every network of the slices.

    Each is converted for the one shape of input that `model.encode(x)` and decoding give it.

    Args:
        model: On the backend that its networks are to be converted from.
        x: (B, 3, H, W).
        convert: Gives the replacements.

    Raises:
        RuntimeError: A network is never called, and so has no input to be converted for.
    """
    y = model.analysis(x)
    with _first_inputs(model) as inputs:
        model.encode(x)
    transforms = {
        name: convert(name, _Transform(model, name), example)
        for name, example in (("analysis", x), ("synthesis", y))
    }
    for name, module in list(_networks(model)):
        if name not in inputs:
            raise RuntimeError(f"{name} is not called as a module on the backend that is converted")
        network = _Network(convert(name, module, inputs[name]))
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, network)
    # Methods, which a module of the same name would not hide.
    model.__dict__.update(transforms)


def _networks(model: SliceCompressionModel) -> Iterator[tuple[str, nn.Module]]:
    for name in ("h_a", "h_mean_s", "h_scale_s"):
        yield name, getattr(model, name)
    for name in _LISTS:
        for i, module in enumerate(getattr(model, name, ())):
            yield f"{name}.{i}", module


@contextlib.contextmanager
def _first_inputs(model: SliceCompressionModel) -> Iterator[dict[str, Tensor]]:
    inputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, arguments: tuple[Tensor]) -> None:
        inputs.setdefault(name, arguments[0])

    hooks = [
        module.register_forward_pre_hook(functools.partial(keep, name))
        for name, module in _networks(model)
    ]
    yield inputs
    for hook in hooks:
        hook.remove()


def torch_compile(name: str, module: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """With weights frozen into the code on the CPU; one graph for one shape."""
    freezing = x.device.type == "cpu"
    with torch._inductor.config.patch(freezing=freezing):
        # isolate_recompiles: all networks share the code of Module.__call__.
        compiled = torch.compile(module, fullgraph=True, dynamic=False, isolate_recompiles=True)
        compiled(x)
    return compiled


class OpenVino:
    """Networks on OpenVINO's CPU plugin.

    Args:
        precision: "f32" or "bf16".
        threads: Number of threads.
        folder: Keeps the converted networks of one model and one shape of input, for other
            precisions and processes.

    Raises:
        ImportError: OpenVINO is not installed.
    """

    def __init__(self, precision: str, threads: int, folder: Path) -> None:
        self._folder = folder
        self._core = openvino().Core()
        self._options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }

    def has_bfloat16(self) -> bool:
        """Whether this CPU computes in bfloat16."""
        return "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def __call__(self, name: str, module: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Traced with an example and compiled for its shape; see :data:`Convert`."""
        path = self._folder / f"{name}.xml"
        if not path.exists():
            with warnings.catch_warnings():
                # Of branches on shapes, which the trace fixes: they are fixed here.
                warnings.simplefilter("ignore", torch.jit.TracerWarning)
                graph = openvino().convert_model(module, example_input=x, input=list(x.shape))
            openvino().save_model(graph, path, compress_to_fp16=False)
        compiled = self._core.compile_model(path, "CPU", self._options)

        def run(x: Tensor) -> Tensor:
            # Outputs are copied, since the next call writes to the same memory.
            return torch.from_numpy(compiled([x.contiguous().numpy()], share_inputs=True)[0])

        return run


def openvino() -> Any:
    """The package, without its telemetry."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
