"""Bounds on what a file's networks may take: sizes, memory and products, before any is taken.

A file of a few kilobytes can describe a network that would need terabytes, or years. What real
models take is orders of magnitude below these bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from lic_fast.runtime.graph import Graph, Node
from lic_fast.runtime.integer import LayersStep, Program, SubpixelStep

if TYPE_CHECKING:
    from lic_fast.runtime.file import ModelData

__all__ = ["MOST_BYTES", "check_sizes"]

MOST_NODES = 2**12
"""Nodes of a graph, steps and maps of a program."""

MOST_PRODUCTS = 2**39
"""Of one network, for a small picture: some seconds."""

MOST_BYTES = 2**28
"""Of one network's maps, for a small picture."""

MOST_BYTES_OF_PIXEL = 2**22
"""Of an integer program's maps, for each pixel of its input."""

_MOST_TAPS = 16


class _Map(NamedTuple):
    channels: int
    side: int


def check_sizes(data: ModelData) -> None:
    """Refuses a model whose networks do not fit each other's sizes, or would take too much.

    Raises:
        ValueError, LookupError: They do not, or would for a small picture.
    """
    hyper = data.path.hyper[0].program
    side, up = data.multiple, hyper.maps[hyper.outputs[0]].scale
    if side % data.z_downsampling or up > data.z_downsampling:
        raise ValueError(
            f"a hyperlatent of {data.z_downsampling} pixels and {up} latents is no part of "
            f"{side} pixels"
        )
    slices = data.path.slices
    channels = len(slices.mean) * len(slices.own[0].zero)
    if data.analysis.channels != (3,) or any(
        graph.channels != (channels,) for graph in (data.synthesis, data.hyper_analysis)
    ):
        raise ValueError(f"the networks do not read 3 channels, or {channels} of latents")
    # Of two sizes, as one may fit by chance.
    for pictures in (1, 2):
        pixels = pictures * side
        hyperlatents = pixels // data.z_downsampling
        latents = hyperlatents * up
        for name, given, wanted in (
            ("analysis", pixels, latents),
            ("synthesis", latents, pixels),
            ("hyper_analysis", latents, hyperlatents),
        ):
            found = _checked_graph(getattr(data, name), given).side
            if found != wanted:
                raise ValueError(
                    f"the {name} gives maps of {found} pixels for those of {given}, they must be "
                    f"of {wanted}"
                )
        for network in data.path.hyper:
            _check_program(network.program, hyperlatents**2)
        for network in (*slices.mean, *slices.scale):
            _check_program(network.program, latents**2)


def _checked_graph(graph: Graph, side: int) -> _Map:
    """Channels and side of what a graph gives for a square map.

    Raises:
        ValueError: A node does not fit what it reads, or all of them would take too much.
    """
    maps = {graph.inputs[0]: _Map(graph.channels[0], side)}
    if len(graph.nodes) > MOST_NODES:
        raise ValueError(f"a network has at most {MOST_NODES} nodes, not {len(graph.nodes)}")
    products = 0
    for node in graph.nodes:
        least, most = _INPUTS[node.kind]
        if not least <= len(node.inputs) <= most:
            raise ValueError(f"a {node.kind} does not read {len(node.inputs)} maps")
        read = [maps[number] for number in node.inputs]
        made, each = _MADE[node.kind](node, read)
        if made.channels != node.channels:
            raise ValueError(
                f"a {node.kind} gives {made.channels} channels, not {node.channels}, as it states"
            )
        if made.side < 1 or made.channels < 1:
            raise ValueError(f"a {node.kind} leaves nothing of a map of {read[0].side} pixels")
        products += each
        if 4 * made.channels * made.side**2 > MOST_BYTES or products > MOST_PRODUCTS:
            raise ValueError(f"the map of a {node.kind} is too large for any picture to be coded")
        maps[node.output] = made
    return maps[graph.outputs[0]]


def _check_program(program: Program, pixels: int) -> None:
    """Refuses an integer program that would take too much for so many pixels of its input.

    Raises:
        ValueError: It would.
    """
    if max(len(program.maps), len(program.steps)) > MOST_NODES:
        raise ValueError(f"a program has at most {MOST_NODES} maps and steps")
    each = sum(
        map_.channels * map_.scale**2 * (map_.halves or 4)
        for map_ in program.maps
        if map_.base is None
    )
    if each > MOST_BYTES_OF_PIXEL or each * pixels > MOST_BYTES:
        raise ValueError(f"a program's maps take {each} bytes for each pixel of its input")
    weights = 0
    for step in program.steps:
        if isinstance(step, LayersStep):
            weights += sum(layer.weight.size for layer in step.layers)
        elif isinstance(step, SubpixelStep):
            weights += step.layer.weight.size
    largest = max(map_.scale for map_ in program.maps)
    if weights * largest**2 * pixels > MOST_PRODUCTS:
        raise ValueError(f"a program has {weights} weights, too many to be computed")


def _products(weight: Any, pixels: int) -> int:
    return int(weight.size) * pixels


def _same(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    if any(one != read[0] for one in read):
        raise ValueError(f"a {node.kind} reads maps of different sizes")
    return read[0], 0


def _conv2d(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    weight, stride, r = node["weight"], node["stride"], node["shuffle"]
    kernel = _kernel(node)
    if not 1 <= r <= _MOST_TAPS:
        raise ValueError(f"a shuffle is from 1 to {_MOST_TAPS}, not {r}")
    side = max(0, (read[0].side + 2 * node["padding"] - kernel) // stride + 1)
    return _Map(len(weight) // r**2, side * r), _products(weight, side**2)


def _conv_transpose2d(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    weight, stride, padding = node["weight"], node["stride"], node["padding"]
    kernel = _kernel(node)
    if not stride <= kernel <= stride + 2 * padding or 2 * padding >= kernel + stride:
        raise ValueError(
            f"a transposed convolution of {kernel} taps, stride {stride} and padding {padding} "
            "has not one output for each step"
        )
    side = read[0].side
    made = _Map(weight.shape[1], side * stride)
    return made, _products(weight, side**2)


def _kernel(node: Node) -> int:
    shape, stride, padding = node["weight"].shape, node["stride"], node["padding"]
    if len(shape) != 4 or shape[2] != shape[3] or not 1 <= shape[2] <= _MOST_TAPS:
        raise ValueError(f"a {node.kind} has a weight of {shape}")
    if not 1 <= stride <= _MOST_TAPS or padding > _MOST_TAPS:
        raise ValueError(f"a {node.kind} has a stride of {stride}, a padding of {padding}")
    return int(shape[2])


def _linear(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    weight = node["weight"]
    return _Map(len(weight), read[0].side), _products(weight, read[0].side ** 2)


def _feed_forward(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    first, second = node["weight1"], node["weight2"]
    pixels = read[0].side ** 2
    return _Map(len(second), read[0].side), _products(first, pixels) + _products(second, pixels)


def _gdn(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    return read[0], _products(node["gamma"], read[0].side ** 2)


def _window_attention(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    channels, side = read[0]
    window = node["window"]
    if not 1 <= window <= _MOST_TAPS:
        raise ValueError(f"a window has sides from 1 to {_MOST_TAPS}, not {window}")
    made = _Map(channels // 3, side)
    return made, channels * (side + window) ** 2 * window**2


def _space_to_depth(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    (channels, side), r = read[0], max(1, node["factor"])
    return _Map(channels * r * r, side // r), 0


def _depth_to_space(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    (channels, side), r = read[0], max(1, node["factor"])
    return _Map(channels // (r * r), side * r), 0


def _split(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    return _Map(node.channels, read[0].side), 0


def _concat(node: Node, read: list[_Map]) -> tuple[_Map, int]:
    if any(one.side != read[0].side for one in read):
        raise ValueError("a concat reads maps of different sizes")
    return _Map(sum(one.channels for one in read), read[0].side), 0


# Of each kind how many maps it may read, at least and at most.
_INPUTS = {
    "binary": (2, 2),
    "concat": (1, MOST_NODES),
    "conv2d": (1, 2),
    "conv_transpose2d": (1, 2),
    "depth_to_space": (1, 1),
    "feed_forward": (1, 2),
    "gate": (3, 3),
    "gdn": (1, 1),
    "layer_norm": (1, 1),
    "linear": (1, 2),
    "space_to_depth": (1, 1),
    "split": (1, 1),
    "unary": (1, 1),
    "window_attention": (1, 1),
}

_MADE: dict[str, Callable[[Node, list[_Map]], tuple[_Map, int]]] = {
    "binary": _same,
    "concat": _concat,
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "depth_to_space": _depth_to_space,
    "feed_forward": _feed_forward,
    "gate": _same,
    "gdn": _gdn,
    "layer_norm": _same,
    "linear": _linear,
    "space_to_depth": _space_to_depth,
    "split": _split,
    "unary": _same,
    "window_attention": _window_attention,
}
