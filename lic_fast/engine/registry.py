"""What capture knows: rules for functions and classes, and classes that are followed.

A rule for a function takes the function's arguments, some of which are
:class:`~lic_fast.engine.values.Value`, and gives the value of its result. A rule for a class takes
the module and the arguments of its ``forward``; it may call modules inside it, and anything else
that has rules, and so may be written like a ``forward``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

__all__ = [
    "function_rule",
    "is_known",
    "is_own_forward",
    "lowers",
    "module_rule",
    "traces",
    "version",
]

Rule = Callable[..., Any]
_R = TypeVar("_R", bound=Rule)
_C = TypeVar("_C", bound=type[nn.Module])

_FUNCTIONS: dict[Any, Rule] = {}
_MODULES: dict[type[nn.Module], tuple[Rule, Any]] = {}
"""Rules, and the ``forward`` that each stands for."""
_TRACED: set[type[nn.Module]] = set()
_KNOWN: dict[type[nn.Module], bool] = {}
_version = 0

# Whose classes compute what their ``forward`` says, and nothing else outside training.
_FOLLOWED = ("torch.nn.modules.", "lic_fast.models.", "compressai.layers.", "compressai.ops.")
# Exact by other means than a graph's.
_NOT_FOLLOWED = ("lic_fast.models.portable.",)
_NOT_FOLLOWED_CLASSES = {"MaskedConv2d"}  # writes its weights at each call
# By name: importing them takes seconds.
_FOLLOWED_CLASSES = {("torchvision.ops.stochastic_depth", "StochasticDepth")}


def lowers(*targets: Any) -> Callable[[_R], _R]:
    """Registers the rule that it decorates for classes of modules and for functions.

    Args:
        targets: Classes, exactly and not their subclasses, or functions of those that PyTorch lets
            tensor-like objects override (``torch.overrides``).

    Example:
        >>> @lowers(HardSwish)
        ... def hard_swish(module, x):
        ...     return x * torch.clamp(x + 3, 0, 6) / 6
    """
    global _version

    def register(rule: _R) -> _R:
        global _version
        for target in targets:
            if isinstance(target, type) and issubclass(target, nn.Module):
                _MODULES[target] = (rule, target.forward)
            else:
                _FUNCTIONS[target] = rule
        _version += 1
        return rule

    return register


def traces(kind: _C) -> _C:
    """Registers a class of modules whose ``forward`` is to be followed; a decorator.

    Its ``forward`` must compute with PyTorch's functions alone: it is called once, and what it does
    besides is not repeated.
    """
    global _version
    _TRACED.add(kind)
    _version += 1
    return kind


def version() -> int:
    """Changes with each registration."""
    return _version


def function_rule(function: Any) -> Rule | None:
    """The rule for a function, None if there is none."""
    try:
        return _FUNCTIONS.get(function)
    except TypeError:  # not hashable
        return None


def module_rule(kind: type[nn.Module]) -> Rule | None:
    """The rule for exactly this class, None if there is none."""
    found = _MODULES.get(kind)
    return None if found is None else found[0]


def is_own_forward(kind: type[nn.Module]) -> bool:
    """Whether the class has no rule, or still the ``forward`` that it had when it got its rule."""
    found = _MODULES.get(kind)
    return found is None or kind.forward is found[1]


def is_known(kind: type[nn.Module]) -> bool:
    """Whether modules of exactly this class have a rule or are followed."""
    if kind in _MODULES or kind in _TRACED:
        return True
    known = _KNOWN.get(kind)
    if known is None:
        home, name = kind.__module__, kind.__qualname__
        known = home.startswith(_FOLLOWED) and not home.startswith(_NOT_FOLLOWED)
        known = known and name not in _NOT_FOLLOWED_CLASSES
        known = known or (home, name) in _FOLLOWED_CLASSES
        # Another class may have taken the name, unless it is one of a function's.
        own = getattr(sys.modules.get(home), name, None) is kind or "<locals>" in name
        known = known and own
        if len(_KNOWN) < 1000:
            _KNOWN[kind] = known
    return known
