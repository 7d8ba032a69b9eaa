"""Which networks a program may compute in the place of.

What a user puts into a model takes effect: hooks of every kind, replaced and wrapped modules,
subclasses, parametrisations, an instance's own ``forward``. A module whose call is no more than its
class's ``forward`` on ordinary tensors, and whose class is known, is followed by
:mod:`~lic_fast.engine.capture`; any other one makes the networks around it run as PyTorch runs
them. Once a graph is made, a :class:`~lic_fast.ops.state.State` of all modules in it says at each
call, in microseconds, whether they are as they were.
"""

from __future__ import annotations

from torch import Tensor, nn

from lic_fast.engine.registry import is_known, is_own_forward, module_rule
from lic_fast.ops.plain import GLOBAL_HOOKS
from lic_fast.ops.stamp import ORDINARY
from lic_fast.ops.state import modules_of

__all__ = ["allowed", "refusal"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def allowed(network: nn.Module) -> bool:
    """Whether the network and all modules in it are known, unwatched and not in training."""
    modules = modules_of([network])
    return all(refusal(module, is_root=module is network) is None for module in modules)


def refusal(module: nn.Module, called: bool = True, is_root: bool = False) -> str | None:
    """Why a module, without those in it, may not be followed; None if it may.

    Args:
        module: The module.
        called: Whether it is called as a module, so that hooks matter.
        is_root: Whether it is the network itself, which must not be in training.
    """
    kind = type(module)
    if not is_known(kind):
        return f"the class {kind.__module__}.{kind.__qualname__} is not known"
    if not is_own_forward(kind):
        return f"the forward of {kind.__qualname__} is not that which its rule stands for"
    attributes = module.__dict__
    if called:
        if kind.__call__ is not _CALL:
            return f"a {kind.__name__} is called otherwise than a module"
        for name in _HOOKS:
            if attributes.get(name):
                return f"a {kind.__name__} has hooks in {name}"
        if any(GLOBAL_HOOKS):
            return "hooks for all modules are registered"
        if module._compiled_call_impl is not None:
            return f"a {kind.__name__} is compiled"
    # A forward that is followed says itself what it does in training; a rule may not.
    if module.training and (is_root or module_rule(kind) is not None):
        return f"a {kind.__name__} is in training"
    for name in attributes.keys() - _ALWAYS:
        if callable(getattr(kind, name, None)):
            return f"a {kind.__name__} has a {name} of its own"
        if _holds_tensors(attributes[name]):
            return f"{name} of a {kind.__name__} has tensors or modules that are not registered"
    for tensors in (module._parameters, module._buffers):
        for name, tensor in tensors.items():
            if tensor is not None and type(tensor) not in ORDINARY:
                return f"{name} of a {kind.__name__} is a {type(tensor).__name__}"
    return None


def _holds_tensors(x: object) -> bool:
    if isinstance(x, (list, tuple, dict)):
        inside = x.values() if isinstance(x, dict) else x
        return any(isinstance(y, (Tensor, nn.Module)) for y in inside)
    return isinstance(x, (Tensor, nn.Module))


_CALL = nn.Module.__call__
# Attributes of every module, none of which is a method.
_ALWAYS = nn.Module().__dict__.keys()
