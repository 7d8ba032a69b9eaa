"""Integer convolutions one after another, whose hidden maps stay integers.

The bits are those of the modules called one by one, which give each other float32
maps: a hidden map is quantised where it arises instead of where it is read. Sub-pixel
convolutions give activations in the order of pixels, and single bytes are shuffled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lic_fast.entropy.integer.activation import ExactGELU, ExactLeakyReLU, ExactReLU
from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.integer_layer import Activation, Quantizer
from lic_fast.ops.integer_network import IntegerNetwork, Layer
from lic_fast.ops.prepared import prepared

__all__ = ["IntegerChain", "integer_chain"]

_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    ExactGELU: "gelu",
    ExactReLU: "relu",
    ExactLeakyReLU: "leaky_relu",
}


def integer_chain(network: nn.Sequential, x: Tensor) -> IntegerChain | None:
    """The network as a chain, if the fast path may run and it consists of integer layers.

    Made once for as long as its numbers stay.
    """
    if not _starts_with_integers(network) or not exact_on_cpu(x):
        return None
    parts = _parts(network)
    if parts is None:
        return None
    return prepared("integer chain", list(network.buffers()), lambda: IntegerChain(parts))


def _starts_with_integers(network: nn.Sequential) -> bool:
    """Quick to say no of networks in floating point."""
    first = next(iter(network), None)
    if isinstance(first, nn.Sequential):
        first = next(iter(first), None)
    return isinstance(first, IntegerConv2d)


_Part = tuple[IntegerConv2d, Activation, int]
"""A convolution, its activation, and by how much its output is shuffled up; 1 for not."""


def _parts(network: nn.Sequential) -> list[_Part] | None:
    """The layers of the network, None if something else is among them or watches it."""
    parts: list[_Part] = []
    ended = True
    for module in network:
        activation = _ACTIVATIONS.get(type(module))
        conv: Any = module
        up = 1
        if isinstance(module, nn.Sequential) and len(module) == 2:
            conv, shuffle = module
            if type(shuffle) is not nn.PixelShuffle or _watched(shuffle):
                return None
            up = shuffle.upscale_factor
        if _watched(module) or _watched(conv):
            return None
        if activation is not None and not ended:
            parts[-1] = (parts[-1][0], activation, parts[-1][2])
            ended = True
        elif type(conv) is IntegerConv2d:
            parts.append((conv, "none", up))
            ended = False
        else:
            return None
    return parts


def _watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


class IntegerChain:
    """Networks of integer layers, with a shuffle behind all but the last.

    Args:
        parts: The layers, their activations, and how far each is shuffled up.
    """

    def __init__(self, parts: list[_Part]) -> None:
        self._input = parts[0][0].quantizer
        self._halves = parts[0][0].halves
        self._networks: list[tuple[IntegerNetwork, int, int]] = []
        layers: list[Layer] = []
        for i, (conv, activation, up) in enumerate(parts):
            following = parts[i + 1][0] if i + 1 < len(parts) else None
            layers.append(_layer(conv, activation, up, following))
            if up > 1 or following is None:
                read = 0 if following is None else following.halves
                self._networks.append((IntegerNetwork(layers), up, read))
                layers = []

    def __call__(self, x: Tensor) -> Tensor:
        """(B, N, H, W) float32 to (B, M, H', W') float32."""
        halves = self._input(x)[: self._halves]
        for network, up, read in self._networks:
            out: Any = network(halves)
            if isinstance(out, Tensor):
                return out if up == 1 else _shuffled(out, up)
            halves = [_shuffled(half, up) for half in out[:read]]
        raise AssertionError("the last layer gives float32")


def _layer(
    conv: IntegerConv2d, activation: Activation, up: int, following: IntegerConv2d | None
) -> Layer:
    # Shuffled channels, (M, r, r), in the order (r, r, M): a pixel's are then one run.
    order = torch.arange(len(conv.bias)).view(-1, up * up).T.flatten()
    output = None
    if following is not None:
        inverse, zero, bits = following.quantizer
        output = Quantizer(inverse.repeat(up * up), zero.repeat(up * up), bits)
    return Layer(
        conv.weight[order],
        conv.bias[order],
        conv.scale[order],
        conv.quantizer.border()[: conv.halves],
        conv.stride,
        activation=activation,
        output=output,
    )


def _shuffled(x: Tensor, up: int) -> Tensor:
    """(B, r * r * C, H, W) to (B, C, r * H, r * W), both with channels last."""
    batch, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(batch, height, width, up, up, channels // (up * up))
    rows = pixels.transpose(2, 3).reshape(batch, height * up, width * up, -1)
    return rows.permute(0, 3, 1, 2)
