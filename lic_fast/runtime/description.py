"""Graphs and integer programs as JSON, in which arrays are names of a file's entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from lic_fast.runtime import integer
from lic_fast.runtime.entropy_path import EntropyPath, Network, Slices
from lic_fast.runtime.faults import FAULTS, reason
from lic_fast.runtime.graph import BINARY, UNARY, Graph, Node

__all__ = ["EXTRA", "Reader", "Writer", "read_graph", "read_path", "within"]

Array = npt.NDArray[Any]

EXTRA = "program."
"""How the names of arrays begin that are no entry of the state dict."""

_MOST = 2**20
"""Channels, kernels, numbers of maps: nothing that is counted is larger."""

_MOST_READ = 2
"""How often arrays are packed, on an average, at most."""

_MOST_UNREAD = 2**20

_STEPS = {step.__name__: step for step in get_args(integer.Step)}


class Writer:
    """Writes parts of a model.

    Args:
        entries: The model's state dict, float16 for float32 where that loses nothing.

    Attributes:
        extras: Arrays that are no entry, by the names that they get.
    """

    def __init__(self, entries: Mapping[str, Array]) -> None:
        self.extras: dict[str, Array] = {}
        self._known: dict[tuple[Any, ...], str] = {}
        for name, entry in entries.items():
            self._known.setdefault(_content(entry), name)

    def array(self, array: Array) -> Any:
        """A reference: the name of an entry with the same numbers, the shape and the order."""
        for r in (1, 2, 4):
            if r > 1 and (not array.ndim or len(array) % (r * r)):
                continue
            ordered = array if r == 1 else _pixels_last(array, r)
            name = self._known.get(_content(ordered))
            if name is not None:
                return {"entry": name, "shape": list(array.shape), "pixels_first": r}
        name = f"{EXTRA}{len(self.extras)}"
        self.extras[name] = np.asarray(array, order="C")
        self._known[_content(array)] = name
        return {"entry": name, "shape": list(array.shape), "pixels_first": 1}

    def value(self, value: Any) -> Any:
        """Named tuples, sequences, arrays, numbers and texts."""
        if isinstance(value, np.ndarray):
            return self.array(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            named: Any = value
            fields = {name: self.value(part) for name, part in named._asdict().items()}
            return {"is": type(value).__name__, **fields}
        if isinstance(value, (list, tuple)):
            return [self.value(one) for one in value]
        return value

    def graph(self, graph: Graph) -> Any:
        """A graph."""
        nodes = []
        for node in graph.nodes:
            attributes, weights = _NODES[node.kind]
            stated = {name: node[name] for name in attributes}
            arrays = {name.rstrip("?"): node[name.rstrip("?")] for name in weights}
            nodes.append(
                {
                    "kind": node.kind,
                    "inputs": list(node.inputs),
                    "output": node.output,
                    "channels": node.channels,
                    "attributes": {
                        name: "-inf" if value == -math.inf else value
                        for name, value in stated.items()
                    },
                    "weights": {
                        name: None if array is None else self.array(array)
                        for name, array in arrays.items()
                    },
                }
            )
        numbers = {name: list(getattr(graph, name)) for name in ("inputs", "channels", "outputs")}
        return {"nodes": nodes, **numbers}


def _content(array: Array) -> tuple[Any, ...]:
    array = np.asarray(array, order="C")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return array.dtype.str, array.size, array.tobytes()


def _pixels_first(array: Array, r: int) -> Array:
    """(M, r, r, ...), as a pixel shuffle reads channels, to (r, r, M, ...), in one dimension."""
    parts = array.reshape(-1, r, r, *array.shape[1:])
    return np.moveaxis(parts, 0, 2).reshape(array.shape)


def _pixels_last(array: Array, r: int) -> Array:
    """The inverse of :func:`_pixels_first`."""
    parts = array.reshape(r, r, -1, *array.shape[1:])
    return np.moveaxis(parts, 2, 0).reshape(array.shape)


class Reader:
    """Reads parts of a model, each of which is refused where it makes no sense.

    Its methods raise ValueError, TypeError, KeyError or AttributeError.

    Args:
        entries: The file's arrays.
    """

    def __init__(self, entries: Mapping[str, Array]) -> None:
        self._entries = entries
        self._left = _MOST_UNREAD + _MOST_READ * sum(entry.size for entry in entries.values())
        self._arrays: dict[tuple[Any, ...], Array] = {}

    def array(self, reference: Any) -> Array:
        """The array that a reference names; float16 becomes float32."""
        if not isinstance(reference, dict):
            raise ValueError(f"a {type(reference).__name__} stands for an array")
        name, shape, r = reference["entry"], reference["shape"], reference["pixels_first"]
        key = self.text(name), tuple(_listed(shape)), r
        if key not in self._arrays:
            if name not in self._entries:
                raise ValueError(f"there is no entry {name}")
            entry = self._entries[name]
            if entry.dtype == np.float16:
                entry = entry.astype(np.float32)
            if entry.dtype not in (np.float32, np.int32, np.int8, np.uint8):
                raise ValueError(f"{name} is {entry.dtype}, which no node computes with")
            if entry.dtype == np.float32 and not np.isfinite(entry).all():
                raise ValueError(f"{name} is not finite")
            array = entry.reshape([self.integer(side, 0, _MOST) for side in key[1]])
            r = self.integer(r, 1, 16)
            self._arrays[key] = _pixels_first(array, r) if r > 1 else array
        array = self._arrays[key]
        self._left -= array.size
        if self._left < 0:
            raise ValueError(f"arrays are read again and again, {name} at last")
        return array

    def arrays(self, references: Any) -> list[Array]:
        """The arrays that some references name."""
        return [within(i, Reader.array, self, one) for i, one in enumerate(_listed(references))]

    def integer(self, value: Any, least: int = 0, most: int = _MOST) -> int:
        """A whole number within bounds."""
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"{value!r} must be a whole number from {least} to {most}")
        return value

    def number(self, value: Any) -> float:
        """A finite number, or "-inf", which masks have."""
        if value == "-inf":
            return -math.inf
        given = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not given or not math.isfinite(value):
            raise ValueError(f"{value!r} must be a number")
        return float(value)

    def text(self, value: Any, *allowed: str) -> str:
        """A text, one of several if any are named."""
        if not isinstance(value, str) or (allowed and value not in allowed):
            raise ValueError(f"{value!r} must be {', '.join(allowed) or 'a text'}")
        return value

    def flag(self, value: Any) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} must be true or false")
        return value

    def integers(self, values: Any) -> list[int]:
        """Whole numbers."""
        return [self.integer(value) for value in _listed(values)]


def _listed(values: Any) -> Sequence[Any]:
    if not isinstance(values, list):
        raise ValueError(f"a {type(values).__name__} stands for a list")
    return values


_Field = Callable[[Reader, Any], Any]


def within(place: object, field: _Field, reader: Reader, value: Any) -> Any:
    """What is read; of a fault the text begins with the place."""
    try:
        return field(reader, value)
    except FAULTS as error:
        raise ValueError(f"{place}: {reason(error)}") from None


def _or_none(field: _Field) -> _Field:
    return lambda reader, value: None if value is None else field(reader, value)


def _one_of(*allowed: str) -> _Field:
    return lambda reader, value: reader.text(value, *allowed)


_ACTIVATION = _one_of("none", "relu", "leaky_relu", "gelu")
_SIZE = Reader.integer

# Of each kind of node, its attributes, and its weights, of which those with "?" may be missing.
_NODES: dict[str, tuple[dict[str, _Field], tuple[str, ...]]] = {
    "binary": ({"function": _one_of(*BINARY), "number": Reader.number}, ()),
    "concat": ({}, ()),
    "conv2d": (
        {"stride": _SIZE, "padding": _SIZE, "activation": _ACTIVATION, "shuffle": _SIZE},
        ("weight", "bias?"),
    ),
    "conv_transpose2d": (
        {"stride": _SIZE, "padding": _SIZE, "activation": _ACTIVATION},
        ("weight", "bias?"),
    ),
    "depth_to_space": ({"factor": _SIZE}, ()),
    "feed_forward": (
        {"activation": _ACTIVATION, "eps": Reader.number},
        ("weight1", "bias1?", "weight2", "bias2?", "norm_weight", "norm_bias"),
    ),
    "gate": ({}, ()),
    "gdn": ({"inverse": Reader.flag}, ("gamma", "beta")),
    "layer_norm": ({"eps": Reader.number}, ("weight", "bias")),
    "linear": (
        {"activation": _ACTIVATION, "eps": _or_none(Reader.number)},
        ("weight", "bias?", "norm_weight?", "norm_bias?"),
    ),
    "space_to_depth": ({"factor": _SIZE, "order": _one_of("rows_first", "columns_first")}, ()),
    "split": ({"first": _SIZE}, ()),
    "unary": ({"function": _one_of(*UNARY), "number": Reader.number}, ()),
    "window_attention": (
        {"window": _SIZE, "shift": _SIZE, "scale": Reader.number, "mask_value": Reader.number},
        ("table", "pad_value?"),
    ),
}


def read_graph(reader: Reader, stated: Any) -> Graph:
    """A graph of one input and one output.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: It is none.
    """
    nodes = tuple(_list(_node)(reader, stated["nodes"]))
    inputs, channels, outputs = (
        tuple(reader.integers(stated[name])) for name in ("inputs", "channels", "outputs")
    )
    if not len(inputs) == len(channels) == len(outputs) == 1:
        raise ValueError("a network has one input and one output")
    made = {*inputs}
    for node in nodes:
        if not made.issuperset(node.inputs) or node.output in made:
            raise ValueError("a node reads a map that is not there yet, or writes one that is")
        made.add(node.output)
    if outputs[0] not in made:
        raise ValueError("the result is no map of the graph")
    return Graph(nodes, inputs, channels, outputs)


def _node(reader: Reader, stated: Any) -> Node:
    kind = reader.text(stated["kind"], *_NODES)
    attributes, weights = _NODES[kind]
    given = stated["attributes"]
    references = stated["weights"]
    read = {}
    for name in weights:
        key = name.rstrip("?")
        reference = references.get(key) if name != key else references[key]
        read[key] = within(key, _or_none(Reader.array), reader, reference)
        if reference is None and name == key:
            raise ValueError(f"a {kind} has no {key}")
    if read.get("norm_weight") is None and given.get("eps") is not None and kind == "linear":
        raise ValueError("a norm has no weight")
    return Node(
        kind,
        tuple(reader.integers(stated["inputs"])),
        reader.integer(stated["output"]),
        reader.integer(stated["channels"], 1),
        {name: within(name, field, reader, given.get(name)) for name, field in attributes.items()},
        read,
    )


# Of each named tuple, its fields.
_FIELDS: dict[type[Any], dict[str, _Field]] = {}


def _tuple(kind: type[Any]) -> _Field:
    def read(reader: Reader, stated: Any) -> Any:
        reader.text(stated["is"], kind.__name__)
        return kind(
            **{
                name: within(name, field, reader, stated[name])
                for name, field in _FIELDS[kind].items()
            }
        )

    return read


def _list(field: _Field) -> _Field:
    return lambda reader, values: [
        within(i, field, reader, value) for i, value in enumerate(_listed(values))
    ]


def _step(reader: Reader, stated: Any) -> Any:
    kind = _STEPS[reader.text(stated["is"], *_STEPS)]
    return _tuple(kind)(reader, stated)


def _typed(dtype: Any) -> _Field:
    def read(reader: Reader, reference: Any) -> Array:
        array = reader.array(reference)
        if array.dtype != dtype:
            raise ValueError(f"an array is {array.dtype}, it must be {np.dtype(dtype)}")
        return array

    return read


def _positive(reader: Reader, reference: Any) -> Array:
    """Scales and steps beyond which numbers would leave the range of float32."""
    array = _typed(np.float32)(reader, reference)
    if not ((array > 1e-15) & (array < 1e15)).all():
        raise ValueError(f"{reference['entry']} must be in 1e-15..1e15")
    return array


def _weight(reader: Reader, reference: Any) -> Array:
    array = _typed(np.int8)(reader, reference)
    if array.min(initial=0) < -127:
        raise ValueError(f"{reference['entry']} must be in -127..127")
    return array


def _bias(reader: Reader, reference: Any) -> Array:
    array = _typed(np.float32)(reader, reference)
    if not (np.abs(array) < 1e15).all():
        raise ValueError(f"{reference['entry']} must be in -1e15..1e15")
    return array


def _one(reader: Reader, value: Any) -> int:
    return reader.integer(value, 1, 1)


def _bits(reader: Reader, value: Any) -> int:
    if reader.integer(value) not in (7, 14):
        raise ValueError(f"an activation has 7 bits or 14, not {value}")
    return int(value)


def _quantizer(reader: Reader, stated: Any) -> Any:
    found = _tuple(integer.Quantizer)(reader, stated)
    if found.zero.ndim != 1 or found.zero.shape != found.inverse_step.shape or not found.zero.size:
        raise ValueError("inverse_step and zero of a quantizer are of the same channels")
    if not ((found.zero >= 0) & (found.zero < 2**found.bits)).all():
        raise ValueError(f"a quantizer's zero must be in 0..{2**found.bits - 1}")
    return found


_FLOATS, _INTEGERS = _typed(np.float32), _typed(np.int32)
_MAYBE = _or_none(_SIZE)
_QUANTIZER = _quantizer
_LAYER = _tuple(integer.Layer)
_FIELDS.update(
    {
        integer.Quantizer: {"inverse_step": _positive, "zero": _INTEGERS, "bits": _bits},
        integer.Layer: {
            "weight": _weight,
            "bias": _INTEGERS,
            "scale": _positive,
            "border": _list(_typed(np.uint8)),
            "stride": _one,
            "groups": _one,
            "activation": _ACTIVATION,
            "output": _or_none(_QUANTIZER),
        },
        integer.Map: {
            "channels": _SIZE,
            "halves": _SIZE,
            "scale": _SIZE,
            "base": _MAYBE,
            "first": _SIZE,
        },
        integer.LayersStep: {
            "layers": _list(_LAYER),
            "x": _SIZE,
            "residual": _MAYBE,
            "values": _MAYBE,
            "activations": _MAYBE,
        },
        integer.SubpixelStep: {
            "layer": _LAYER,
            "up": _SIZE,
            "x": _SIZE,
            "values": _MAYBE,
            "activations": _MAYBE,
        },
        integer.QuantizeStep: {"quantizer": _QUANTIZER, "x": _SIZE, "activations": _SIZE},
        integer.NormStep: {
            "weight": _bias,
            "bias": _bias,
            "inverse_step": _positive,
            "epsilon": _positive,
            "quantizer": _QUANTIZER,
            "x": _SIZE,
            "activations": _SIZE,
        },
        integer.AttentionStep: {
            "inverse_step": _positive,
            "scale": _positive,
            "table": _bias,
            "value_step": _positive,
            "window_size": _SIZE,
            "shift": _SIZE,
            "quantizer": _QUANTIZER,
            "x": _SIZE,
            "activations": _SIZE,
        },
        integer.GateStep: {
            "quantizer": _QUANTIZER,
            "x": _SIZE,
            "gate": _SIZE,
            "residual": _SIZE,
            "activations": _SIZE,
        },
        integer.ElementStep: {
            "element": _one_of(*get_args(integer.Element)),
            "quantizer": _or_none(_QUANTIZER),
            "x": _SIZE,
            "y": _MAYBE,
            "values": _MAYBE,
            "activations": _MAYBE,
        },
        integer.Program: {
            "maps": _list(_tuple(integer.Map)),
            "steps": _list(_step),
            "inputs": Reader.integers,
            "outputs": Reader.integers,
        },
        Network: {"program": _tuple(integer.Program), "quantizer": _QUANTIZER},
        Slices: {
            "mean": _list(_tuple(Network)),
            "scale": _list(_tuple(Network)),
            "lrp": _list(_list(_LAYER)),
            "own": _list(_QUANTIZER),
            "attended": Reader.integers,
            "limit": _SIZE,
        },
        EntropyPath: {"hyper": _list(_tuple(Network)), "slices": _tuple(Slices)},
    }
)


def read_path(reader: Reader, stated: Any) -> EntropyPath:
    """An entropy path.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: It is none.
    """
    found: EntropyPath = _tuple(EntropyPath)(reader, stated)
    return found
