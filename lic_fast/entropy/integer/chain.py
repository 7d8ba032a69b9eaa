"""Integer convolutions one after another, whose hidden maps stay integers.

The bits are those of the modules called one by one, which give each other float32
maps: a hidden map is quantised where it arises instead of where it is read, and a
sub-pixel convolution writes each of its phases where its pixels belong.

Nothing here is an operator of PyTorch that runs on several threads: its threads and
those of ``csrc`` would wait for each other's processors at every change.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from lic_fast.entropy.integer.activation import ExactGELU, ExactLeakyReLU, ExactReLU
from lic_fast.entropy.integer.conv import IntegerConv2d, IntegerLinear
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.integer_layer import Activation, Quantizer
from lic_fast.ops.integer_network import IntegerNetwork
from lic_fast.ops.plain import known, plain, unwatched
from lic_fast.ops.prepared import prepared
from lic_fast.runtime import integer
from lic_fast.runtime.integer import Layer

__all__ = ["ACTIVATIONS", "IntegerChain", "integer_chain", "layer_of"]

ACTIVATIONS: dict[type[nn.Module], Activation] = {
    ExactGELU: "gelu",
    ExactReLU: "relu",
    ExactLeakyReLU: "leaky_relu",
}
"""Names of the activations that integer layers compute at their end."""


def integer_chain(
    network: nn.Sequential, x: Tensor, residual: bool = False, last: nn.Module | None = None
) -> IntegerChain | None:
    """The network as a chain, if the fast path may run and it consists of integer layers.

    Made once for as long as its numbers stay.

    Args:
        network: The layers.
        x: Its input.
        residual: Whether something is to be added to the last layer's output.
        last: An activation behind that, or None.
    """
    if not _starts_with_integers(network) or not exact_on_cpu(x):
        return None
    parts = _parts(network, last)
    if parts is None or (residual and parts[-1].up > 1):
        return None
    # A sum stands before its activation.
    if residual and parts[-1].activation != "none" and last is None:
        return None
    # Other networks may have the same layers.
    form = tuple((type(p.conv), p.conv.stride, p.activation, p.up) for p in parts)
    key = ("integer chain", form)
    return prepared(key, list(network.buffers()), lambda: IntegerChain(parts))


def _starts_with_integers(network: nn.Sequential) -> bool:
    """Quick to say no of networks in floating point."""
    first = next(iter(network), None)
    if isinstance(first, nn.Sequential):
        first = next(iter(first), None)
    return isinstance(first, IntegerConv2d)


class _Part(NamedTuple):
    """A convolution, its activation, and by how much its output is shuffled up; 1 for not."""

    conv: IntegerConv2d
    activation: Activation = "none"
    up: int = 1


def _parts(network: nn.Sequential, last: nn.Module | None) -> list[_Part] | None:
    """The layers of the network, None if something else is among them, or they are watched."""
    parts: list[_Part] = []
    ended = True
    for module in network if last is None else [*network, last]:
        activation = ACTIVATIONS.get(type(module))
        conv: Any = module
        up = 1
        if isinstance(module, nn.Sequential) and len(module) == 2:
            conv, shuffle = module
            if not plain(nn.PixelShuffle, shuffle) or not known(type(module)):
                return None
            up = int(cast(Any, shuffle).upscale_factor)
        if not unwatched(module) or not unwatched(conv):
            return None
        if activation is not None and not ended:
            parts[-1] = parts[-1]._replace(activation=activation)
            ended = True
        elif type(conv) is (type(parts[0].conv) if parts else _kind(conv)):
            parts.append(_Part(cast(IntegerConv2d, conv), up=up))
            ended = False
        else:
            return None
    return parts


def _kind(first: nn.Module) -> type[nn.Module]:
    """What all layers of a chain are: of pixels, or of tokens."""
    return IntegerLinear if type(first) is IntegerLinear else IntegerConv2d


class IntegerChain:
    """Networks of integer layers, some of which end in a sub-pixel convolution.

    Args:
        parts: The layers, their activations, and how far each is shuffled up.
    """

    def __init__(self, parts: list[_Part]) -> None:
        self._tokens = type(parts[0].conv) is IntegerLinear
        self._input = parts[0].conv.quantizer
        self._halves = parts[0].conv.halves
        self._segments: list[_Segment] = []
        layers: list[Layer] = []
        for i, (conv, activation, up) in enumerate(parts):
            following = parts[i + 1].conv if i + 1 < len(parts) else None
            layer = _layer(conv, activation, following)
            if up == 1:
                layers.append(layer)
            if layers and (up > 1 or following is None):
                self._segments.append(_Segment([IntegerNetwork(layers)], 1, layers[-1]))
                layers = []
            if up > 1:
                phases = [IntegerNetwork([_phase(layer, k, up)]) for k in range(up * up)]
                self._segments.append(_Segment(phases, up, layer))

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, N, H, W) float32 to (B, M, H', W') float32, of linear maps with channels last.

        Args:
            x: The first layer's input.
            residual: Of the result's shape, added before the last activation, or None.
        """
        if self._tokens:
            x = x.permute(0, 3, 1, 2)
            residual = None if residual is None else residual.permute(0, 3, 1, 2)
        maps = self._input(x)[: self._halves]
        for segment in self._segments[:-1]:
            maps = segment(maps)
        (result,) = self._segments[-1](maps, residual)
        return result.permute(0, 2, 3, 1) if self._tokens else result


class _Segment:
    """A network, or the phases of a sub-pixel convolution, each of which writes its own pixels.

    Args:
        networks: One, or one for each of the r x r phases.
        up: r.
        last: The last layer, all phases together.
    """

    def __init__(self, networks: list[IntegerNetwork], up: int, last: Layer) -> None:
        self._networks = networks
        self._up = up
        self._channels = len(last.bias) // (up * up)
        self._maps = 0 if last.output is None else last.output.bits // 7
        self._read = len(networks[0].layers[0].border)

    def __call__(self, maps: list[Tensor], residual: Tensor | None = None) -> list[Tensor]:
        maps = maps[: self._read]
        batch, _, height, width = maps[0].shape
        shape = (batch, self._channels, height * self._up, width * self._up)
        dtype = torch.uint8 if self._maps else torch.float32
        out = [
            torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
            for _ in range(self._maps or 1)
        ]
        for k, network in enumerate(self._networks):
            row, column = divmod(k, self._up)
            into = [to[:, :, row :: self._up, column :: self._up] for to in out]
            network(maps, residual=residual, out=into if self._maps else into[0])
        return out


def layer_of(
    conv: IntegerConv2d, activation: Activation, output: integer.Quantizer | None
) -> Layer:
    """An integer convolution as a layer of a network, which does not keep the buffers alive."""
    return Layer(
        conv.weight.detach(),
        conv.bias,
        conv.scale,
        conv.border,
        conv.stride,
        activation=activation,
        output=output,
    )


def _layer(conv: IntegerConv2d, activation: Activation, following: IntegerConv2d | None) -> Layer:
    if following is None:
        return layer_of(conv, activation, None)
    repeats = len(conv.bias) // following.weight.shape[1]
    inverse, zero, bits = following.quantizer
    # Channels before the shuffle are (M, r, r).
    output = Quantizer(inverse.repeat_interleave(repeats), zero.repeat_interleave(repeats), bits)
    return layer_of(conv, activation, output)


def _phase(layer: Layer, k: int, up: int) -> Layer:
    """The channels of one of the r x r pixels that a sub-pixel convolution makes of one."""
    own = slice(k, None, up * up)
    output = layer.output
    if output is not None:
        output = Quantizer(output.inverse_step[own], output.zero[own], output.bits)
    return layer._replace(
        weight=layer.weight[own], bias=layer.bias[own], scale=layer.scale[own], output=output
    )
