"""Values: what a network's modules are called with to find out what they compute.

A :class:`Value` stands for a tensor of unknown batch and size. PyTorch's functions, given one, ask
its ``__torch_function__`` (``torch.overrides``), which looks up the function's rule, and the rule
adds nodes to a graph. Nothing global is changed, so that other threads' modules go on as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from lic_fast.engine.registry import function_rule
from lic_fast.engine.unsupported import Unsupported
from lic_fast.runtime.graph import Node

__all__ = ["Recorder", "Shape", "Value"]


class Recorder:
    """The nodes of a graph that is being written.

    Attributes:
        nodes: Those so far.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._maps = 0

    def new_map(self) -> int:
        """The number of a new map."""
        self._maps += 1
        return self._maps - 1


class _Unknown:
    """A number that is known only when the network runs."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise Unsupported("it computes with the batch or the size of its input")

    __bool__ = __int__ = __index__ = __float__ = __hash__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = _refuse
    __mod__ = __rmod__ = __neg__ = __pow__ = _refuse

    def __repr__(self) -> str:
        return "?"


Shape = tuple[Any, ...]
"""Of a value: numbers that are not known, except for that of channels."""

# Methods of tensors, and the functions that they are.
_METHODS = {
    "abs": torch.abs,
    "add": torch.add,
    "chunk": torch.chunk,
    "clamp": torch.clamp,
    "clamp_min": torch.clamp_min,
    "contiguous": Tensor.contiguous,
    "div": torch.div,
    "exp": torch.exp,
    "mul": torch.mul,
    "neg": torch.neg,
    "permute": torch.permute,
    "pow": torch.pow,
    "relu": torch.relu,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "split": torch.split,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "sub": torch.sub,
    "tanh": torch.tanh,
}


class Value:
    """A tensor (B, C, H, W), or (B, H, W, C), of which the channels C alone are known.

    Attributes:
        recorder: Of the graph that it is a map of.
        number: That of the map.
        channels: C.
        last: Whether the channels are the last dimension.
        shared: Whether another tensor shares its memory, so that it must not be written to.
    """

    def __init__(
        self, recorder: Recorder, number: int, channels: int, last: bool, shared: bool = False
    ) -> None:
        self.recorder = recorder
        self.number = number
        self.channels = channels
        self.last = last
        self.shared = shared

    def node(
        self,
        kind: str,
        *others: Value,
        channels: int | None = None,
        weights: Mapping[str, Tensor | None] | None = None,
        **attributes: Any,
    ) -> Value:
        """The result of a new node whose inputs are this and others.

        Args:
            kind: See :mod:`lic_fast.runtime.graph`.
            others: The further inputs, with their channels where this has them.
            channels: Of the result, as many as here if None.
            weights: The node's tensors.
            attributes: The node's numbers and names.
        """
        for other in others:
            if other.recorder is not self.recorder:
                raise Unsupported("a value of another network is in it")
            if other.last != self.last:
                raise Unsupported("channels meet rows: one map is (B, C, H, W), one (B, H, W, C)")
        channels = self.channels if channels is None else channels
        number = self.recorder.new_map()
        detached = {name: None if w is None else w.detach() for name, w in (weights or {}).items()}
        inputs = (self.number, *(other.number for other in others))
        self.recorder.nodes.append(Node(kind, inputs, number, channels, attributes, detached))
        return Value(self.recorder, number, channels, self.last)

    def unary(self, function: str, number: float = 0.0) -> Value:
        """A function of each number, see :data:`lic_fast.runtime.graph.UNARY`."""
        return self.node("unary", function=function, number=float(number))

    def binary(self, function: str, other: Value, number: float = 1.0) -> Value:
        """A function of each two numbers, see :data:`lic_fast.runtime.graph.BINARY`."""
        if other.channels != self.channels:
            raise Unsupported(f"{function} of {self.channels} and {other.channels} channels")
        return self.node("binary", other, function=function, number=float(number))

    def view(self, last: bool | None = None) -> Value:
        """The same map, with its channels first or last; None: as they are."""
        self.shared = True
        last = self.last if last is None else last
        return Value(self.recorder, self.number, self.channels, last, True)

    def overwritten(self, by: Value) -> Value:
        """This, after an operation in place that has `by` for its result."""
        if self.shared:
            raise Unsupported("an operation in place changes a tensor that shares its memory")
        self.number, self.channels = by.number, by.channels
        return self

    # What modules do with tensors.

    @classmethod
    def __torch_function__(
        cls,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise Unsupported("autocast is on in it")
        rule = function_rule(function)
        if rule is None:
            name = getattr(function, "__name__", None) or str(function)
            raise Unsupported(f"there is no rule for the function {name}")
        return rule(*args, **(kwargs or {}))

    @property
    def shape(self) -> Shape:
        """(B, C, H, W) or (B, H, W, C)."""
        batch, rows, columns = _Unknown(), _Unknown(), _Unknown()
        if self.last:
            return batch, rows, columns, self.channels
        return batch, self.channels, rows, columns

    @property
    def ndim(self) -> int:
        """4."""
        return 4

    def dim(self) -> int:
        """4."""
        return 4

    def size(self, dimension: int | None = None) -> Any:
        """As of a tensor."""
        return self.shape if dimension is None else self.shape[dimension]

    def __getattr__(self, name: str) -> Any:
        function = _METHODS.get(name)
        if function is None:
            raise Unsupported(f"it asks for {name} of a tensor")
        return lambda *args, **kwargs: Value.__torch_function__(
            function, (Value,), (self, *args), kwargs
        )

    def _refuse(self, *_: Any) -> NoReturn:
        raise Unsupported("what it does depends on the numbers of its input, or it writes to it")

    __bool__ = __int__ = __float__ = __len__ = __index__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __setitem__ = __matmul__ = __imatmul__ = __ipow__ = _refuse
    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[Any]:
        self._refuse()

    def __getitem__(self, index: Any) -> Value:
        return Value.__torch_function__(Tensor.__getitem__, (Value,), (self, index))

    def __add__(self, other: Any) -> Any:
        return self.add(other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self.sub(other)

    def __rsub__(self, other: Any) -> Any:
        return (-self).add(other)

    def __mul__(self, other: Any) -> Any:
        return self.mul(other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self.div(other)

    def __iadd__(self, other: Any) -> Value:
        return self.overwritten(self + other)

    def __isub__(self, other: Any) -> Value:
        return self.overwritten(self - other)

    def __imul__(self, other: Any) -> Value:
        return self.overwritten(self * other)

    def __itruediv__(self, other: Any) -> Value:
        return self.overwritten(self / other)

    def __pow__(self, other: Any) -> Any:
        return self.pow(other)

    def __neg__(self) -> Any:
        return self.neg()
