"""The kernels for GPUs where the CPU's code stands, in Triton's interpreter."""

from __future__ import annotations

import sys
from importlib import import_module

from torch import Tensor
from triton.runtime.interpreter import interpreter_builder

from lic_fast.ops.backend import current_backend
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.launch import launchable

# Where the entropy path asks; the transforms have kernels of their own, which round.
_ASKED_BY = ("integer_layer", "exact_quantize", "exact_add_residual", "quantize")
_OPERATORS = (
    ("integer_launch", "_layer", "_launch"),
    ("integer_launch", "_quantize", "_launch_quantize"),
    ("exact_add_residual", "_exact_add_residual", "_launch"),
)

launched: set[str] = set()
"""Operators whose kernels have run."""


def launch_on_the_cpu() -> None:
    """From now on this process launches the entropy path's kernels on the CPU's tensors."""
    # The interpreter's own check of every index for overflow is most of the time that it takes;
    # tests/kernels run with it.
    object.__setattr__(interpreter_builder.options, "sanitize_overflow", False)
    for name in _ASKED_BY:
        module = import_module(f"lic_fast.ops.{name}")
        assert module.launchable is launchable
        module.launchable = _on_the_cpu  # type: ignore[attr-defined]
    for module in list(sys.modules.values()):
        if getattr(module, "exact_on_cpu", None) is exact_on_cpu:
            module.exact_on_cpu = lambda x: False  # type: ignore[attr-defined]
    for name, operator, launch in _OPERATORS:
        module = import_module(f"lic_fast.ops.{name}")
        getattr(module, operator).register_kernel("cpu")(_noted(operator, getattr(module, launch)))


def _on_the_cpu(*operands: Tensor | None, **options: object) -> bool:
    return current_backend() == "auto"


def _noted(name, launch):
    def launch_and_note(*arguments):
        launched.add(name)
        return launch(*arguments)

    return launch_and_note


def check_that_all_were_launched() -> None:
    """The process has not decoded on the definition instead."""
    assert launched == {operator for _, operator, _ in _OPERATORS}, launched
