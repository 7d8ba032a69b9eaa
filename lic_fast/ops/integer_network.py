"""Layers of a portable network one after another, in one call.

On the CPU the maps between two layers never leave ``csrc/integer``: they lie there
with their border around them, which the next layer reads as it is. Elsewhere, and as
the definition, a network is its layers: :func:`lic_fast.ops.integer_layer.integer_layer`
of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.backend import current_backend
from lic_fast.ops.channels_last import array_of, map_of
from lic_fast.ops.integer_layer import integer_layer, pack
from lic_fast.ops.threads import threads
from lic_fast.runtime.integer import Layer

__all__ = ["IntegerNetwork", "composed"]


class IntegerNetwork:
    """Layers, each of which reads the activations that the one before it gives.

    A layer of one border reads the high halves only of activations of 14 bits.

    Args:
        layers: At least one, all but the last with an output quantizer. On the CPU they
            are packed here, and must not be changed afterwards.

    Raises:
        ValueError: A layer does not fit the next one, its shapes do not fit each other,
            or a number is out of range.
        TypeError: A type is another.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        if not self.layers:
            raise ValueError("a network has at least one layer")
        self._packed: _C.IntegerNetwork | None = None
        if self.layers[0].weight.device.type == "cpu":
            self._packed = _C.IntegerNetwork([pack(*layer) for layer in self.layers])
        for layer, following in zip(self.layers, self.layers[1:], strict=False):
            _check(layer, following)

    def __reduce__(self) -> tuple[type[IntegerNetwork], tuple[tuple[Layer, ...]]]:
        return IntegerNetwork, (self.layers,)  # packed anew in a copy

    def __call__(
        self,
        x: Sequence[Tensor],
        *,
        residual: Tensor | None = None,
        out: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor | list[Tensor]:
        """The last layer's output.

        Args:
            x: A map (B, N, H, W) of uint8 in 0..127 for each border of the first layer.
                Without a copy if the channels are side by side in memory, be they some
                of those of a larger map.
            residual: (B, M, H', W') float32, the last layer's, or None.
            out: What to write, of the shape and the type of the result, its channels
                side by side in memory, or None.

        Returns:
            `out`, or new maps with channels last: (B, M, H', W') float32, or, with an
            output quantizer, the halves of its activations.

        Raises:
            ValueError: Shapes do not fit each other, a number is out of range, or `out`
                overlaps `x` or, without being it, `residual`.
            TypeError: A type is another.
        """
        elsewhere = any(half.device.type != "cpu" for half in x)
        if self._packed is None or elsewhere or current_backend() == "reference":
            result = composed(self.layers, x, residual)
            return result if out is None else _copied(result, out)
        into = None
        if out is not None:
            into = _array(out) if isinstance(out, Tensor) else [_array(half) for half in out]
        arrays = [array_of(half) for half in x]
        written = self._packed.run(
            arrays,
            threads(),
            out=into,
            residual=None if residual is None else array_of(residual),
        )
        if out is not None:
            return out if isinstance(out, Tensor) else list(out)
        return [map_of(half) for half in written] if isinstance(written, list) else map_of(written)


def composed(
    layers: Sequence[Layer], x: Sequence[Tensor], residual: Tensor | None
) -> Tensor | list[Tensor]:
    """The definition of :class:`IntegerNetwork`: layer by layer."""
    *others, last = layers
    result: Tensor | Sequence[Tensor] = x
    for layer in others:
        result = _layer(result[: len(layer.border)], layer, None)
    return _layer(result if not others else result[: len(last.border)], last, residual)


def _layer(
    x: Tensor | Sequence[Tensor], layer: Layer, residual: Tensor | None
) -> Tensor | list[Tensor]:
    """`x` is a sequence: every layer but the last quantises its output."""
    assert not isinstance(x, Tensor)
    return integer_layer(
        x,
        layer.weight,
        layer.bias,
        layer.scale,
        border=layer.border,
        stride=layer.stride,
        groups=layer.groups,
        activation=layer.activation,
        residual=residual,
        output=layer.output,
    )


def _array(out: Tensor) -> npt.NDArray[Any]:
    return out.permute(0, 2, 3, 1).numpy()


def _copied(result: Tensor | list[Tensor], out: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
    results = [result] if isinstance(result, Tensor) else result
    outs = [out] if isinstance(out, Tensor) else list(out)
    if [(o.shape, o.dtype) for o in outs] != [(r.shape, r.dtype) for r in results]:
        raise ValueError(
            f"out must be {[tuple(r.shape) for r in results]}, not {[tuple(o.shape) for o in outs]}"
        )
    for to, values in zip(outs, results, strict=True):
        to.copy_(values)
    return out if isinstance(out, Tensor) else outs


def _check(layer: Layer, following: Layer) -> None:
    if layer.output is None:
        raise ValueError("a layer before another must have quantised output")
    channels = following.groups * following.weight.shape[1]
    if len(layer.weight) != channels:
        raise ValueError(
            f"a layer has {len(layer.weight)} channels, of which the next one takes {channels}"
        )
    if len(following.border) > layer.output.bits // 7:
        raise ValueError("a layer's output of 7 bits does not fit a next one of two halves")
