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
    weights between two layers, they are read layer by layer.
    """
    if torch.is_grad_enabled() or current_backend() != "auto":
        yield
        return
    owners = _OWNERS.get(model)
    if owners is None:
        owners = _OWNERS[model] = _owners(model)
    stale = False

    def group_of(tensor: Tensor) -> list[Tensor] | None:
        nonlocal stale
        child = model._modules.get(owners.get(id(tensor), ""))
        if child is None:
            stale = stale or isinstance(tensor, nn.Parameter)
            return None
        weights = _weights(child)
        # Another tensor had its identity.
        stale = stale or (weights is not None and not any(tensor is w for w in weights))
        return weights

    try:
        with read_at_once(group_of):
            yield
    finally:
        if stale:  # They have been replaced.
            _OWNERS.pop(model, None)


def _owners(model: nn.Module) -> dict[int, str]:
    children = model.named_children()
    return {id(tensor): name for name, child in children for tensor in _weights(child) or ()}


def _weights(child: nn.Module) -> list[Tensor] | None:
    """Parameters and buffers, None if there are hooks."""
    weights: list[Tensor | None] = []
    # By hand: modules() and parameters() take several times as long.
    modules = [child]
    for module in modules:
        if watched(module):
            return None
        weights += module._parameters.values()
        weights += module._buffers.values()
        modules += [inner for inner in module._modules.values() if inner is not None]
    return [tensor for tensor in weights if tensor is not None]
