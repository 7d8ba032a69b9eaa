"""What modules are, and whether they still are it: attributes, classes, hooks and tensors.

What is made of whole networks once, programs above all, is used for as long as the :class:`State`
of all modules in them holds. One look at thousands of tensors takes a fraction of a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn

from lic_fast import _C
from lic_fast.ops.plain import GLOBAL_HOOKS
from lic_fast.ops.stamp import Stamps

__all__ = ["State", "modules_of"]


def modules_of(
    networks: Sequence[nn.Module], children: Iterable[str] | None = None
) -> Iterator[nn.Module]:
    """The networks and everything in them, each module once.

    Args:
        networks: Modules.
        children: Names of the children of all networks whose modules are of interest; None for
            all.
    """
    seen: set[int] = set()
    waiting: list[nn.Module | None] = [*networks]
    for place, module in enumerate(waiting):
        if module is not None and id(module) not in seen:
            seen.add(id(module))
            yield module
            inside = module._modules
            if children is None or place >= len(networks):
                waiting += inside.values()
            else:
                waiting += [inside[name] for name in children]


class State:
    """What modules were when it was taken. It keeps their tensors alive, but not the modules.

    Args:
        modules: Without those in them.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        modules = list(modules)
        # A tensor with a weak reference could not be swapped, see torch.utils.swap_tensors.
        self._snapshot = _C.Snapshot(modules, GLOBAL_HOOKS, Tensor)
        tensors = {
            id(tensor): tensor
            for module in modules
            for group in (module._parameters, module._buffers)
            for tensor in group.values()
            if tensor is not None
        }
        self._stamps = Stamps(tensors.values())

    def attributes_hold(self) -> bool:
        """Whether all but the numbers in the tensors is as it was."""
        return self._snapshot.holds()

    def holds(self) -> bool:
        """Whether all is as it was; of numbers see :mod:`lic_fast.ops.stamp`."""
        return self._snapshot.holds() and self._stamps.hold()
