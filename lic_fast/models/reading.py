"""Looking at a model's weights, which may have changed, once for each of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lic_fast.models.modules import watched
from lic_fast.ops import current_backend
from lic_fast.ops.prepared import read_at_once

__all__ = ["weights_read_at_once"]


_OWNERS: WeakKeyDictionary[nn.Module, dict[int, str]] = WeakKeyDictionary()
"""Of each model, by the identities of its weights, in which child they were when it was made."""


@contextmanager
def weights_read_at_once(model: nn.Module) -> Iterator[None]:
    """Within the block the weights of each child of `model` are read together, when it runs.

    What is prepared of weights asks whether they are what they were by reading them; see
    :mod:`lic_fast.ops.prepared`. Where someone has hooks in a child, which might write to its
    weights between two layers, they are read layer by layer. What else is written to weights
    while a child runs, past their version counters, is seen by the next call.
    """
    if torch.is_grad_enabled() or current_backend() != "auto":
        yield
        return
    owners = _OWNERS.get(model)
    if owners is None:
        owners = _OWNERS[model] = _owners(model)
    stale = False
    found: dict[str, list[Tensor] | None] = {}

    def group_of(tensor: Tensor) -> list[Tensor] | None:
        nonlocal stale
        name = owners.get(id(tensor), "")
        child = model._modules.get(name)
        if child is None:
            stale = stale or isinstance(tensor, nn.Parameter)
            return None
        if name not in found:
            weights, hooked = _weights(child)
            # Another tensor had its identity.
            stale = stale or not any(tensor is weight for weight in weights)
            found[name] = None if hooked else weights
        return found[name]

    try:
        with read_at_once(group_of):
            yield
    finally:
        if stale:  # They have been replaced.
            _OWNERS.pop(model, None)


def _owners(model: nn.Module) -> dict[int, str]:
    children = model.named_children()
    return {id(tensor): name for name, child in children for tensor in _weights(child)[0]}


def _weights(child: nn.Module) -> tuple[list[Tensor], bool]:
    """Parameters and buffers, and whether there are hooks."""
    weights: list[Tensor | None] = []
    hooked = False
    # By hand: modules() and parameters() take several times as long.
    modules = [child]
    for module in modules:
        hooked = hooked or watched(module)
        weights += module._parameters.values()
        weights += module._buffers.values()
        modules += [inner for inner in module._modules.values() if inner is not None]
    return [tensor for tensor in weights if tensor is not None], hooked
