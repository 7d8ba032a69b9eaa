"""Whether modules are plain and unwatched, so that a fast path may compute in their place.

What a user puts into a model takes effect: hooks of every kind, replaced and wrapped modules,
subclasses, parametrisations, an instance's own ``forward``. So whoever computes what modules stand
for without calling them, or calls them otherwise than PyTorch would, asks here first, and where the
answer is no calls them one by one, as ``module(x)``.

A module is *plain* if its class is exactly the one that the caller knows, and *unwatched* if
calling it runs that class's ``forward`` on ordinary parameters and nothing else. The questions are
asked at every call, since nothing tells when the answer changes; one costs about a microsecond.
"""

from __future__ import annotations

from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules import module as torch_module
from torch.nn.modules.module import _has_any_global_hook

from lic_fast.ops.stamp import ORDINARY

__all__ = ["GLOBAL_HOOKS", "known", "plain", "plain_network", "unwatched"]

GLOBAL_HOOKS = [
    hooks
    for name, hooks in vars(torch_module).items()
    if name.startswith("_global_") and isinstance(hooks, dict)
]
"""The dicts of hooks for all modules."""

# Of others, those that models of lic_fast have in them.
_KNOWN = {
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.Dropout,
    nn.GELU,
    nn.Identity,
    nn.LayerNorm,
    nn.LeakyReLU,
    nn.Linear,
    nn.ModuleList,
    nn.ParameterList,
    nn.PixelShuffle,
    nn.ReLU,
    nn.Sequential,
    nn.Sigmoid,
}
# By name: importing them takes seconds.
_KNOWN_NAMES = {
    ("compressai.entropy_models.entropy_models", "EntropyBottleneck"),
    ("compressai.entropy_models.entropy_models", "GaussianConditional"),
    ("compressai.layers.gdn", "GDN"),
    ("compressai.ops.bound_ops", "LowerBound"),
    ("compressai.ops.parametrizers", "NonNegativeParametrizer"),
    ("torchvision.ops.stochastic_depth", "StochasticDepth"),
}

# Fake ones stand for tensors on a device that is not there; they compute what those would.
_TENSORS = (*ORDINARY, FakeTensor)

Kinds = type[nn.Module] | tuple[type[nn.Module], ...]


def plain(kinds: Kinds, *modules: nn.Module | None) -> bool:
    """Whether each module is of exactly one of these classes, and unwatched.

    Says nothing of the modules inside them; None is no module.
    """
    exact = kinds if isinstance(kinds, tuple) else (kinds,)
    for module in modules:
        if module is None or type(module) not in exact or not _unwatched(module):
            return False
    return not _has_any_global_hook()


def plain_network(*networks: nn.Module) -> bool:
    """Whether everything in these networks, they included, is of a known class and unwatched."""
    if _has_any_global_hook():
        return False
    # By hand: modules() takes several times as long.
    waiting: list[nn.Module | None] = [*networks]
    for module in waiting:
        if module is not None:
            if not known(type(module)) or not _unwatched(module):
                return False
            waiting += module._modules.values()
    return True


def unwatched(module: nn.Module) -> bool:
    """Whether calling the module runs its class's ``forward`` on ordinary tensors alone."""
    return _unwatched(module) and not _has_any_global_hook()


def _unwatched(module: nn.Module) -> bool:
    if (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
        or module._compiled_call_impl is not None
    ):
        return False
    for tensors in (module._parameters, module._buffers):
        for tensor in tensors.values():
            if tensor is not None and type(tensor) not in _TENSORS:
                return False
    return True


def known(kind: type[nn.Module]) -> bool:
    """Whether the class is of lic_fast, or another that lic_fast's models have in them."""
    return (
        kind.__module__.startswith("lic_fast.")
        or kind in _KNOWN
        or (kind.__module__, kind.__qualname__) in _KNOWN_NAMES
    )
