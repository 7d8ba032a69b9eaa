"""The blocks of a portable entropy path, of integer layers and exact modules.

Each stands in the place of a block of :mod:`lic_fast.models`, whose children it has under the same
names (:func:`~lic_fast.models.portable.twins.become_portable`). They compute what their modules
would one by one, bit for bit, with activations and sums in the layers before them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from lic_fast.entropy.integer.activation import ExactLeakyReLU
from lic_fast.entropy.integer.chain import ACTIVATIONS, integer_chain
from lic_fast.entropy.integer.conv import IntegerConv2d, IntegerLinear
from lic_fast.entropy.integer.norm import ExactGDN
from lic_fast.ops.integer_layer import Activation
from lic_fast.ops.plain import plain, unwatched

__all__ = [
    "IntegerBlock",
    "IntegerConvTransBlock",
    "IntegerResidualBlock",
    "IntegerResidualBlockUpsample",
    "IntegerResidualUnit",
    "IntegerSequential",
    "IntegerSubpixelConv",
    "IntegerWMSA",
]


class IntegerSequential(nn.Sequential):
    """Layers one after another, as a chain of integer layers where they are one."""

    def forward(
        self, x: Tensor, residual: Tensor | None = None, last: nn.Module | None = None
    ) -> Tensor:
        """Runs the layers.

        Args:
            x: The first layer's input.
            residual: Added to the last layer's output.
            last: An activation after that.
        """
        if (chain := integer_chain(self, x, residual is not None, last)) is not None:
            return chain(x, residual)
        layers = [*self, *([] if last is None else [last])]
        final = len(self) - 1
        i = 0
        while i < len(layers):
            following = layers[i + 1] if i + 1 < len(layers) else None
            # An activation that is the last layer itself stands before the sum.
            if type(following) not in ACTIVATIONS or (residual is not None and i + 1 == final):
                following = None
            x = applied(layers[i], x, following, residual if i == final else None)
            i += 1 if following is None else 2
        return x


class IntegerSubpixelConv(nn.Sequential):
    """A convolution to r x r times the channels, and a pixel shuffle."""

    def forward(self, x: Tensor, activation: nn.Module | None = None) -> Tensor:
        """(B, N, H, W) to (B, M, r * H, r * W), after the activation if there is one."""
        if len(self) == 2 and plain(nn.PixelShuffle, self[1]) and _fused(activation) is not None:
            return self[1](applied(self[0], x, activation))
        x = super().forward(x)
        return x if activation is None else activation(x)


class IntegerResidualUnit(nn.Module):
    """See :class:`lic_fast.models.layers.ResidualUnit`."""

    conv: nn.Module
    activation: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        if plain(IntegerSequential, self.conv):
            return self.conv(x, residual=x, last=self.activation)
        return self.activation(self.conv(x) + x)


class IntegerResidualBlock(nn.Module):
    """See :class:`lic_fast.models.residual_blocks.ResidualBlock`."""

    conv1: nn.Module
    conv2: nn.Module
    leaky_relu: nn.Module
    skip: nn.Module | None

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, H, W)."""
        skip = x if self.skip is None else self.skip(x)
        out = applied(self.conv2, applied(self.conv1, x, self.leaky_relu), self.leaky_relu)
        return added(out, skip, self.conv2, self.leaky_relu)


class IntegerResidualBlockUpsample(nn.Module):
    """See :class:`lic_fast.models.residual_blocks.ResidualBlockUpsample`."""

    subpel_conv: nn.Module
    leaky_relu: nn.Module
    conv: nn.Module
    igdn: nn.Module
    upsample: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, upsample * H, upsample * W)."""
        out = self.conv(applied(self.subpel_conv, x, self.leaky_relu))
        return added(self.igdn(out), self.upsample(x), self.igdn)


class IntegerWMSA(nn.Module):
    """See :class:`lic_fast.models.tcm.WMSA`.

    Attributes:
        attention: From queries, keys and values, (B, H, W, 3 * C), to (B, H, W, C).
    """

    embedding_layer: nn.Module
    attention: nn.Module
    linear: nn.Module

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, H, W, C) to (B, H, W, C), added to `residual`, if given."""
        attended = self.attention(self.embedding_layer(x))
        return applied(self.linear, attended, residual=residual)


class IntegerBlock(nn.Module):
    """See :class:`lic_fast.models.tcm.Block`."""

    ln1: nn.Module
    msa: nn.Module
    drop_path: nn.Module
    ln2: nn.Module
    mlp: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        skipped = plain(StochasticDepth, self.drop_path) and not self.drop_path.training
        if skipped and plain(IntegerWMSA, self.msa):
            x = self.msa(self.ln1(x), residual=x)
        else:
            x = x + self.drop_path(self.msa(self.ln1(x)))
        if skipped and plain(IntegerSequential, self.mlp):
            return self.mlp(self.ln2(x), residual=x)
        return x + self.drop_path(self.mlp(self.ln2(x)))


class IntegerConvTransBlock(nn.Module):
    """See :class:`lic_fast.models.tcm.ConvTransBlock`."""

    trans_block: nn.Module
    conv1_1: nn.Module
    conv1_2: nn.Module
    conv_block: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2C, H, W) to (B, 2C, H, W)."""
        conv, trans = self.conv1_1(x).chunk(2, 1)
        conv = added(self.conv_block(conv), conv, self.conv_block)
        trans = self.trans_block(trans.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return applied(self.conv1_2, torch.cat([conv, trans], 1), residual=x)


_LAYERS = (IntegerConv2d, IntegerLinear)
"""Layers that take an activation and a residual."""

_OWNERS = (ExactGDN, ExactLeakyReLU, IntegerConv2d, IntegerResidualBlock)
"""Modules whose result is a new map."""


def applied(
    layer: nn.Module,
    x: Tensor,
    activation: nn.Module | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """``activation(layer(x) + residual)``, in one step where the modules are integer ones."""
    fused = _fused(activation)
    if fused is not None and plain(_LAYERS, layer):
        return layer(x, fused, residual)
    if residual is None and plain(IntegerSubpixelConv, layer):
        return layer(x, activation)
    out = layer(x)
    if residual is not None:
        out = out + residual
    return out if activation is None else activation(out)


def _fused(activation: nn.Module | None) -> Activation | None:
    """The name by which a layer computes an activation, None if the module must be called."""
    if activation is None:
        return "none"
    return ACTIVATIONS.get(type(activation)) if unwatched(activation) else None


def added(x: Tensor, y: Tensor, *makers: nn.Module) -> Tensor:
    """The sum of two maps, written over x where it is known that only its makers had it.

    Args:
        x: (B, C, H, W).
        y: Of the same shape.
        makers: The modules that x comes from.
    """
    if torch.is_grad_enabled() or not plain(_OWNERS, *makers):
        return x + y
    return x.add_(y)
