"""Files that are wrong in one place, and have the right digest all the same."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from lic_fast.runtime.file import METADATA, _digest

VALUES: list[Any] = [
    *(None, True, False, "", "relu", "conv2d", "QuantizeStep", "-inf", "NaN", [], {}, [[]], [0]),
    *(-1, 0, 1, 2, 3, 5, 7, 14, 16, 17, 63, 1000, 2**15, 2**20, 2**31, 2**62, 2**64, 10**400),
    *(0.5, -1e-9, 1e39, 1e300, float("nan"), float("inf"), -float("inf")),
]


def parts_of(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a file states, and its arrays."""
    length = int.from_bytes(data[:8], "little")
    stated = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][METADATA])
    return stated, load(data)


def bytes_of(stated: Any, arrays: dict[str, Any]) -> bytes:
    """A file that states this, with the digest that it must have."""
    if isinstance(stated, dict):
        stated = {key: value for key, value in stated.items() if key != "sha256"}
        stated["sha256"] = _digest(stated, arrays)
    return save(arrays, metadata={METADATA: json.dumps(stated)})


def places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """The path of everything in a tree."""
    yield path
    if isinstance(value, (dict, list)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*path, key))


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    """What is at the end of a path."""
    for key in path:
        tree = tree[key]
    return tree


def walk(tree: Any, choose: random.Random) -> tuple[Any, ...]:
    """A path, to things high up as likely as to one of the many deep in it."""
    path: tuple[Any, ...] = ("graph",) if choose.random() < 0.85 and "graph" in tree else ()
    while True:
        here = at(tree, path)
        if not isinstance(here, (dict, list)) or not here or (path and choose.random() < 0.06):
            return path
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        path = (*path, choose.choice(keys))


def is_reference(value: Any) -> bool:
    """Whether this is one of an array."""
    return isinstance(value, dict) and "entry" in value


def change_json(stated: Any, choose: random.Random) -> str:
    """Changes one thing that a file states, and says what."""
    path = walk(stated, choose)
    parent, key = at(stated, path[:-1]), path[-1]
    how = choose.choice(["value", "value", "nudge", "drop", "double", "other", "references"])
    if how == "nudge" and type(parent[key]) in (int, float):
        parent[key] += choose.choice([-1, 1])
    elif how == "drop":
        del parent[key]
    elif how == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif how == "references":
        graph = stated["graph"]
        several = [one for one in places(graph) if is_reference(at(graph, one))]
        first, second = (at(graph, choose.choice(several)) for _ in range(2))
        kept = dict(first)
        first.update(second)
        second.update(kept)
    elif how == "other":
        parent[key] = copy.deepcopy(at(stated, walk(stated, choose)))
    else:
        parent[key] = copy.deepcopy(choose.choice(VALUES))
    return f"{how} {path}"


def change_array(arrays: dict[str, Any], choose: random.Random) -> str:
    """Changes one array, and says how."""
    name = choose.choice(sorted(arrays))
    array = arrays[name].copy()
    how = choose.choice(["dtype", "shape", "cut", "empty", "fill", "one", "drop"])
    if how == "drop":
        del arrays[name]
        return f"drop {name}"
    if how == "dtype":
        types = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "u4", "?")
        with np.errstate(invalid="ignore", over="ignore"):
            array = array.astype(choose.choice(types))
    elif how == "shape":
        shapes = [(-1,), (1, *array.shape), (*array.shape, 1), array.shape[::-1]]
        array = array.reshape(choose.choice(shapes))
    elif how == "cut":
        array = np.ascontiguousarray(array[1:]) if array.ndim else array
    elif how == "empty":
        array = array[:0] if array.ndim else array
    elif array.size:
        numbers: list[Any] = [0, 1, -1, 127, 2**14]
        if array.dtype.kind == "f":
            numbers += [float("nan"), float("inf"), -float("inf"), 1e4, 6e4, -6e4, 1e-7]
            numbers += [3e38, -3e38, 1e-40] if array.dtype.itemsize > 2 else []
        else:
            limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else None
            numbers = [n for n in numbers if limits is None or limits.min <= n <= limits.max]
            numbers += [] if limits is None else [limits.min, limits.max]
        flat, number = array.reshape(-1), choose.choice(numbers)
        flat[... if how == "fill" else choose.randrange(flat.size)] = number
        how += f" {number}"
    arrays[name] = np.ascontiguousarray(array)
    return f"{how} {name}"


def changed(data: bytes, seed: int) -> tuple[bytes, str]:
    """The bytes of a file that is wrong somewhere, and what was changed."""
    choose = random.Random(seed)
    stated, arrays = parts_of(data)
    arrays_too = choose.random() < 0.35
    what = change_array(arrays, choose) if arrays_too else change_json(stated, choose)
    return bytes_of(stated, arrays), what
