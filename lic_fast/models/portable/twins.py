"""The modules of a portable entropy path, in the places of those of a floating-point one."""

from __future__ import annotations

from typing import Any

from torch import nn

from lic_fast.entropy.integer.activation import (
    ExactGELU,
    ExactLeakyReLU,
    ExactReLU,
    ExactSigmoid,
)
from lic_fast.entropy.integer.conv import IntegerConv2d, IntegerLinear
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.portable.maps import ENTROPY_PATH

__all__ = ["become_portable", "twin"]


def twin(module: nn.Module) -> nn.Module | None:
    """The exact module in the place of one in floating point, its numbers still to be filled in.

    None for a module that only holds others.

    Raises:
        ValueError: There is none for this one.
    """
    if isinstance(module, nn.Conv2d):
        return IntegerConv2d.like(module)
    if isinstance(module, nn.Linear):
        return IntegerLinear.like(module)
    if isinstance(module, nn.GELU) and module.approximate == "none":
        return ExactGELU()
    if isinstance(module, nn.LeakyReLU) and module.negative_slope == 0.01:
        return ExactLeakyReLU()
    if isinstance(module, nn.ReLU):
        return ExactReLU()
    if isinstance(module, nn.Sigmoid):
        return ExactSigmoid()
    if isinstance(module, nn.PixelShuffle) or next(module.children(), None) is not None:
        return None
    raise ValueError(f"no exact module for {module}")


def become_portable(model: SliceCompressionModel) -> dict[str, nn.Module]:
    """Puts exact modules, without numbers yet, into the model's entropy path.

    Returns:
        The modules that were replaced, by their names.
    """
    replaced = {}
    for name, module in list(model.named_modules()):
        if not name.startswith(ENTROPY_PATH):
            continue
        exact = twin(module)
        if exact is not None:
            parent, _, child = name.rpartition(".")
            owner: Any = model.get_submodule(parent)
            setattr(owner, child, exact)
            replaced[name] = module
    model.portable = True
    return replaced
