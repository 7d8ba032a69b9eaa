"""Programs of graphs: ``csrc/program`` runs them on the CPU, in bands of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lic_fast import _C
from lic_fast.runtime.graph import Graph, Node
from lic_fast.runtime.memory import empty

__all__ = ["Description", "Padding", "Program", "fast_bfloat16", "subpixel_weight"]

_Array = npt.NDArray[np.float32]

_Pixels = npt.NDArray[np.uint8]

Padding = tuple[int, int, int, int]
"""Pixels (left, top, right, bottom) around a picture."""

Description = tuple[str, str, tuple[int, int, int]]
"""Of a node: kind, kernel, and rows, columns and channels of the result."""


def fast_bfloat16() -> bool:
    """Whether programs compute faster in bfloat16 than in float32 on this CPU.

    They do where they multiply it, or maps of it as int16 (``csrc/winograd``, ``csrc/linear``).
    """
    return _C.multiplies_words()


class Program:
    """A graph with packed weights.

    Args:
        graph: What it computes. Its weights, arrays, are not copied where they are float32 and
            dense: a program is made anew when they have changed.
        bfloat16: Whether maps inside are of bfloat16, or else of float32.
        compact: Whether weights of float32 for Winograd convolutions take no more memory than they
            are, and some time at each call.
        reads_pixels: Whether inputs are pixels, uint8, which are divided by 255.
        writes_pixels: Whether results are, rounded from 255 times the numbers and clamped.

    Raises:
        ValueError: A node does not fit the maps that it reads, or there is no such node.
    """

    def __init__(
        self,
        graph: Graph,
        bfloat16: bool,
        compact: bool = False,
        *,
        reads_pixels: bool = False,
        writes_pixels: bool = False,
    ) -> None:
        builder = _C.ProgramBuilder(bfloat16, compact)
        weights = _Weights()
        given = zip(graph.inputs, graph.channels, strict=True)
        if reads_pixels and graph.channels != (3,):
            raise ValueError(f"pixels have 3 channels, the network reads {graph.channels}")
        numbers = {
            number: builder.pixels() if reads_pixels else builder.input(channels)
            for number, channels in given
        }
        channels = dict(zip(graph.inputs, graph.channels, strict=True))
        for node in graph.nodes:
            inputs = [numbers[number] for number in node.inputs]
            numbers[node.output] = _EMITTERS[node.kind](builder, weights, node, inputs)
            channels[node.output] = node.channels
        self.channels = [channels[number] for number in graph.outputs]
        self._weights = weights  # nodes point at them
        self._program = builder.build(
            [numbers[number] for number in graph.outputs], pixels=writes_pixels
        )

    def output_sizes(self, rows: int, columns: int) -> list[tuple[int, int]]:
        """Rows and columns of each result, for an input of this size.

        Raises:
            ValueError: The network does not take inputs of this size.
        """
        return self._program.output_sizes(rows, columns)

    def run(
        self,
        inputs: Sequence[_Array | _Pixels],
        outputs: Sequence[_Array | _Pixels],
        threads: int,
        band_rows: int = 0,
        padding: Padding = (0, 0, 0, 0),
    ) -> bool:
        """Writes the results for a batch of maps.

        Args:
            inputs: (B, H, W, C) each, of one size, float32, or uint8 where they are pixels.
            outputs: (B, H', W', C') each, of :meth:`output_sizes` and :attr:`channels`, likewise.
            threads: That compute.
            band_rows: Rows of the first result that are computed at a time; 0: as is best.
            padding: By which pixels are extended, (left, top, right, bottom): inputs by repeating
                their edges; of outputs as much is left out. No copy is made.

        Returns:
            Whether all numbers that pixels were rounded from are finite, those left out too.

        Raises:
            ValueError: The sizes do not fit the network.
        """
        return self._program.run(list(inputs), list(outputs), threads, band_rows, padding)

    def __call__(self, x: _Array, threads: int) -> _Array:
        """The one result for a batch of maps, (B, H', W', C'); see :meth:`run`."""
        out = self.empty(len(x), *x.shape[1:3])
        self.run([x], [out], threads)
        return out

    def empty(self, batch: int, rows: int, columns: int) -> _Array:
        """Memory for the one result of a batch of maps of this size."""
        ((height, width),) = self.output_sizes(rows, columns)
        return empty((batch, height, width, self.channels[0]), np.float32)

    def describe(self, rows: int, columns: int) -> list[Description]:
        """Every node, for an input of this size."""
        return self._program.describe(rows, columns)

    def memory(self, rows: int, columns: int, threads: int, band_rows: int = 0) -> int:
        """Bytes of maps that one call for an input of this size takes at a time."""
        return int(self._program.memory(rows, columns, threads, band_rows))


class _Weights:
    """Weights as the nodes take them, which it keeps."""

    def __init__(self) -> None:
        self._arrays: list[_Array] = []

    def __call__(self, weight: _Array) -> _Array:
        array: _Array = np.ascontiguousarray(weight, np.float32)
        self._arrays.append(array)
        return array

    def optional(self, weight: _Array | None) -> _Array | None:
        return None if weight is None else self(weight)

    def norm(self, node: Node) -> tuple[_Array, _Array, float] | None:
        if node["eps"] is None:
            return None
        return self(node["norm_weight"]), self(node["norm_bias"]), node["eps"]


def _residual(inputs: list[int]) -> int | None:
    return inputs[1] if len(inputs) > 1 else None


def _conv2d(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.conv2d(
        inputs[0],
        weights(node["weight"]),
        weights.optional(node["bias"]),
        node["stride"],
        node["padding"],
        node["activation"],
        _residual(inputs),
        node["shuffle"],
    )


def _conv_transpose2d(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    # To all pixels of a step at once.
    stride = node["stride"]
    wide, halo = subpixel_weight(node["weight"], stride, node["padding"])
    bias = node["bias"]
    repeated = None if bias is None else weights(np.tile(bias, stride * stride))
    activation, residual = node["activation"], _residual(inputs)
    return builder.conv2d(inputs[0], weights(wide), repeated, 1, halo, activation, residual, stride)


def subpixel_weight(weight: _Array, stride: int, padding: int) -> tuple[_Array, int]:
    r"""The weight of a convolution to s * s times the channels, a transposed one's at all pixels.

    Output :math:`s i + q` of the transposed convolution is the sum of input :math:`i + d` times
    tap :math:`q + p - s d` over all d for which there is such a tap (Shi et al., "Real-Time Single
    Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network",
    CVPR 2016, section 3.2).

    Args:
        weight: (N, M, k, k) of the transposed convolution.
        stride: Its stride s.
        padding: Its padding p.

    Returns:
        (s * s * M, N, 2 h + 1, 2 h + 1), and h, the convolution's padding.
    """
    inputs, outputs, kernel = weight.shape[:3]
    # The first and the last d of any q.
    halo = max((stride - 1 + padding) // stride, (kernel - 1 - padding) // stride)
    taps = {
        (q, d): q + padding - stride * d
        for q in range(stride)
        for d in range(-halo, halo + 1)
        if 0 <= q + padding - stride * d < kernel
    }
    side = 2 * halo + 1
    wide: _Array = np.zeros((stride, stride, outputs, inputs, side, side), np.float32)
    for (q, d), row in taps.items():
        for (r, e), column in taps.items():
            wide[q, r, :, :, d + halo, e + halo] = weight[:, :, row, column].T
    return wide.reshape(-1, inputs, side, side), halo


def _linear(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.linear(
        inputs[0],
        weights(node["weight"]),
        weights.optional(node["bias"]),
        node["activation"],
        _residual(inputs),
        weights.norm(node),
    )


def _feed_forward(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    biases = []
    for i in (1, 2):
        weight, bias = node[f"weight{i}"], node[f"bias{i}"]
        biases.append(weights(np.zeros(len(weight), np.float32) if bias is None else bias))
    return builder.feed_forward(
        inputs[0],
        weights.norm(node),
        weights(node["weight1"]),
        biases[0],
        node["activation"],
        weights(node["weight2"]),
        biases[1],
        _residual(inputs),
    )


def _gdn(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    gamma, beta = weights(node["gamma"]), weights(node["beta"])
    return builder.gdn(inputs[0], gamma, beta, node["inverse"])


def _layer_norm(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.layer_norm(
        inputs[0], weights(node["weight"]), weights(node["bias"]), node["eps"]
    )


def _window_attention(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.window_attention(
        inputs[0],
        weights(node["table"]),
        weights.optional(node["pad_value"]),
        node["window"],
        node["shift"],
        node["scale"],
        node["mask_value"],
    )


def _unary(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.unary(inputs[0], node["function"], node["number"])


def _binary(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.binary(*inputs, node["function"], node["number"])


def _gate(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.gate(*inputs)


def _space_to_depth(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.space_to_depth(inputs[0], node["factor"], node["order"])


def _depth_to_space(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.depth_to_space(inputs[0], node["factor"])


def _split(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.split(inputs[0], node["first"], node.channels)


def _concat(builder: Any, weights: _Weights, node: Node, inputs: list[int]) -> int:
    return builder.concat(inputs)


_EMITTERS: dict[str, Callable[[Any, _Weights, Node, list[int]], int]] = {
    "binary": _binary,
    "concat": _concat,
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "depth_to_space": _depth_to_space,
    "feed_forward": _feed_forward,
    "gate": _gate,
    "gdn": _gdn,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "space_to_depth": _space_to_depth,
    "split": _split,
    "unary": _unary,
    "window_attention": _window_attention,
}
