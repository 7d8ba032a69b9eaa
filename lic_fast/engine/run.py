"""Running networks: as programs where they may, else their modules as PyTorch runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._device import DeviceContext

from lic_fast.engine.by_operators import run_by_operators
from lic_fast.engine.cache import Entry, entry_of, entry_of_function
from lic_fast.engine.capture import Function, Layout
from lic_fast.ops.backend import current_backend
from lic_fast.ops.stamp import ORDINARY
from lic_fast.ops.threads import threads

__all__ = ["run", "run_networks", "why_modules"]

_FLOATS = (torch.float32, torch.bfloat16)


def run(
    network: nn.Module,
    x: Tensor,
    *,
    method: str = "forward",
    precision: str = "float32",
    layout: Layout = "BCHW",
) -> Tensor:
    """``getattr(network, method)(x)``, up to rounding.

    Args:
        network: A module.
        x: (B, C, H, W), or (B, H, W, C) if the layout is "BHWC".
        method: Of one tensor; "forward" stands for calling the module.
        precision: Type of the maps inside, "float32", "bfloat16" or "float16", where the network
            runs as a program; CPUs compute in float32 for "float16".
        layout: Of x.

    Returns:
        The result, of the type of x; of a program dense, with channels last in memory.
    """
    if _why_not_here([network], [x]) is None:
        entry = entry_of(network, method, _channels(x, layout), layout)
        if _why_not(entry, x) is None:
            out = _lowered(entry, [x], precision, layout)
            if out is not None:
                return out[0]
    result: Tensor = network(x) if method == "forward" else getattr(network, method)(x)
    return result


def run_networks(
    function: Function, networks: Sequence[nn.Module], *inputs: Tensor
) -> tuple[Tensor, ...]:
    """``function(networks, *inputs)``, up to rounding, as one program where it may be one.

    Args:
        function: Of modules and tensors, with a tuple of tensors for its result. It is called with
            stand-ins of both to find out what it computes, once for as long as it lives: one that
            is made anew at each call, as a closure in the caller is, takes long each time.
        networks: All modules that it calls.
        inputs: (B, C, H, W) each.

    Returns:
        The results; of a program dense, with channels last in memory.
    """
    if _why_not_here(networks, inputs) is None:
        entry = entry_of_function(function, networks, [x.shape[1] for x in inputs])
        if all(_why_not(entry, x) is None for x in inputs):
            out = _lowered(entry, inputs, "float32", "BCHW")
            if out is not None:
                return tuple(out)
    return function(networks, *inputs)


def why_modules(
    network: nn.Module, x: Tensor, *, method: str = "forward", layout: Layout = "BCHW"
) -> str | None:
    """Why :func:`run` calls the modules for this input here; None if it does not."""
    reason = _why_not_here([network], [x])
    if reason is not None:
        return reason
    return _why_not(entry_of(network, method, _channels(x, layout), layout), x)


def _why_not_here(networks: Sequence[nn.Module], inputs: Sequence[Tensor]) -> str | None:
    """Why nothing but modules may run, for reasons that are not the networks'."""
    for x in inputs:
        if type(x) not in ORDINARY:
            return f"the input is a {type(x).__name__}"
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return "PyTorch is tracing"
    if current_backend() != "auto":
        return f"the backend is {current_backend()!r}"
    for x in inputs:
        if x.dim() != 4 or not x.numel() or x.layout is not torch.strided or x.dtype not in _FLOATS:
            shape = tuple(x.shape)
            return f"the input is no dense map of float32 or bfloat16 but {shape} {x.dtype}"
        if x.device.type not in ("cpu", "cuda"):
            return f"the input is on {x.device}"
    if any(x.dtype != inputs[0].dtype or x.device != inputs[0].device for x in inputs):
        return "the inputs are of several types or on several devices"
    if torch.is_autocast_enabled(inputs[0].device.type):
        return "autocast is on"
    if any(ask() for ask in _MODES) and not _only_devices():
        return "a mode of PyTorch's sees each operator"
    if _FORWARD_MODE._current_level >= 0:
        return "forward-mode derivatives are asked for"
    learning = torch.is_grad_enabled()
    if learning and (any(x.requires_grad for x in inputs) or any(map(_learns, networks))):
        return "gradients are asked for"
    return None


# Private, but there is no other way to ask.
_FORWARD_MODE: Any = torch.autograd.forward_ad
_FUNCTION_MODES = getattr(torch._C, "_len_torch_function_stack", None)
_MODES = [
    ask
    for ask in (
        getattr(torch._C, "_len_torch_dispatch_stack", None),
        _FUNCTION_MODES,
        getattr(torch._C._functorch, "peek_interpreter_stack", None),
    )
    if ask is not None
]


def _only_devices() -> bool:
    """Whether the only modes are those that say where new tensors are made."""
    others = [ask for ask in _MODES if ask is not _FUNCTION_MODES]
    modes = getattr(torch.overrides, "_get_current_function_mode_stack", lambda: [None])()
    return not any(ask() for ask in others) and all(isinstance(m, DeviceContext) for m in modes)


def _learns(network: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in network.parameters()) or any(
        buffer.requires_grad for buffer in network.buffers()
    )


def _channels(x: Tensor, layout: Layout) -> int:
    return x.shape[3 if layout == "BHWC" else 1]


def _why_not(entry: Entry, x: Tensor) -> str | None:
    """Why the network's modules run for this input."""
    if entry.captured is None:
        return entry.reason
    if not entry.types <= {x.dtype}:
        return f"the input is {x.dtype}, weights are {', '.join(map(str, entry.types))}"
    if not entry.devices <= {x.device}:
        return f"the input is on {x.device}, weights are on {', '.join(map(str, entry.devices))}"
    return None


def _lowered(
    entry: Entry, inputs: Sequence[Tensor], precision: str, layout: Layout
) -> list[Tensor] | None:
    """The results of a program; None for sizes that it does not take."""
    assert entry.captured is not None
    x = inputs[0]
    maps = inputs if layout == "BHWC" else [x.permute(0, 2, 3, 1) for x in inputs]
    try:
        if x.is_cuda:
            out = run_by_operators(entry.captured.graph, maps, _type(precision, x))
        else:
            bfloat16 = torch.bfloat16 in (x.dtype, _type(precision, x))
            program = entry.program(bfloat16)
            results = program.of_tensors([x.float().resolve_neg() for x in maps], threads())
            out = [result.to(x.dtype) for result in results]
    except ValueError:
        return None  # the modules have a better message, or another rule
    return out if entry.captured.layout == "BHWC" else [y.permute(0, 3, 1, 2) for y in out]


def _type(precision: str, x: Tensor) -> torch.dtype:
    if precision == "float32" or (precision == "float16" and not x.is_cuda):
        return x.dtype
    found: Any = getattr(torch, precision)
    assert isinstance(found, torch.dtype)
    return found
