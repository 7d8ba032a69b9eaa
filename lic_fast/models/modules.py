"""The slice networks' layers, by the operators of :mod:`lic_fast.ops`.

They are torch's modules, with their parameters and state-dict names.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from lic_fast import ops
from lic_fast.ops.linear import activated
from lic_fast.ops.onednn import Activation, Pair
from lic_fast.ops.plain import plain, unwatched

__all__ = ["Conv2d", "Sequential"]


class Conv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d` by :func:`lic_fast.ops.conv2d`, if zero-padded and not dilated."""

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """(B, N, H, W) to (B, M, H', W')."""
        if self.dilation != (1, 1) or self.padding_mode != "zeros" or isinstance(self.padding, str):
            return activated(super().forward(x), activation)
        return ops.conv2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=cast(Pair, self.padding),
            groups=self.groups,
            activation=activation,
        )


class Sequential(nn.Sequential):
    """:class:`torch.nn.Sequential` that fuses a convolution with the activation after it."""

    def forward(self, x: Tensor) -> Tensor:
        """Runs the layers."""
        layers = list(self)
        i = 0
        while i < len(layers):
            following = _activation_of(layers[i + 1]) if i + 1 < len(layers) else None
            if following is not None and plain(Conv2d, layers[i]):
                x = layers[i](x, following)
                i += 2
            else:
                x = layers[i](x)
                i += 1
        return x


def _activation_of(module: nn.Module) -> Activation | None:
    """The name under which an operator fuses this activation, None if it does not."""
    if not unwatched(module):
        return None
    if type(module) is nn.GELU and module.approximate == "none":
        return "gelu"
    if type(module) is nn.ReLU:
        return "relu"
    if type(module) is nn.LeakyReLU and module.negative_slope == 0.01:
        return "leaky_relu"
    return None
