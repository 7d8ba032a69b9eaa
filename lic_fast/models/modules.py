"""The modules that models are made of, on the operators of :mod:`lic_fast.ops`.

They are torch's and CompressAI's modules, with their parameters and state-dict
names; only ``forward`` goes to an operator that has a fast path.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from compressai.layers import GDN as CompressaiGDN
from compressai.ops.bound_ops import LowerBound
from compressai.ops.parametrizers import NonNegativeParametrizer
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from lic_fast import ops
from lic_fast.entropy.integer.activation import ExactGELU, ExactLeakyReLU, ExactReLU
from lic_fast.entropy.integer.chain import integer_chain
from lic_fast.entropy.integer.conv import IntegerConv2d, IntegerLinear
from lic_fast.ops import tile_convolution
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.linear import activated
from lic_fast.ops.onednn import Activation, Pair
from lic_fast.ops.plain import plain, unwatched
from lic_fast.ops.row_products import Norm

__all__ = [
    "GDN",
    "Conv2d",
    "ConvTranspose2d",
    "LayerNorm",
    "Linear",
    "Sequential",
    "SubpixelConv",
    "activation_of",
    "added",
    "applied",
    "conv",
    "conv1x1",
    "conv3x3",
    "deconv",
    "fused_norm",
    "gdn_over",
    "inactive",
    "plain_conv",
    "plain_norm",
    "plus_subpixel_conv",
    "subpel_conv3x3",
    "subpixel_conv",
]


class Linear(nn.Linear):
    """:class:`torch.nn.Linear` by :func:`lic_fast.ops.linear`."""

    def forward(
        self,
        x: Tensor,
        activation: Activation = "none",
        residual: Tensor | None = None,
        norm: nn.Module | None = None,
    ) -> Tensor:
        """(..., N) to (..., M), of the norm of x if there is one."""
        x, factors = fused_norm(norm, x)
        return ops.linear(
            x, self.weight, self.bias, activation=activation, residual=residual, norm=factors
        )


class LayerNorm(nn.LayerNorm):
    """:class:`torch.nn.LayerNorm` of channels by :func:`lic_fast.ops.layer_norm`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        if not _of_channels(self):
            return super().forward(x)
        return ops.layer_norm(x, self.weight, self.bias, self.eps)


class Conv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d` by :func:`lic_fast.ops.conv2d`, if zero-padded and not dilated."""

    def forward(
        self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(B, N, H, W) to (B, M, H', W')."""
        if not _ordinary(self):
            out = super().forward(x)
            return activated(out if residual is None else out + residual, activation)
        return ops.conv2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=cast(Pair, self.padding),
            groups=self.groups,
            activation=activation,
            residual=residual,
        )


class ConvTranspose2d(nn.ConvTranspose2d):
    """:class:`torch.nn.ConvTranspose2d` by :func:`lic_fast.ops.conv_transpose2d`, if it fits."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, N, H, W) to (B, M, H', W')."""
        if not _ordinary(self) or self.groups != 1:
            return super().forward(x)
        return ops.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=cast(Pair, self.padding),
            output_padding=self.output_padding,
        )


class GDN(CompressaiGDN):
    """CompressAI's generalised divisive normalisation by :func:`lic_fast.ops.gdn`."""

    def forward(self, x: Tensor, overwrite: bool = False) -> Tensor:
        """(B, C, H, W) to (B, C, H, W), in place of x where that is allowed."""
        sources = self._sources() if fast_on_cpu(x, self.beta, self.gamma) else None
        if sources is not None:
            # Made once, so that what is packed of them stays.
            beta, gamma = ops.prepared("gdn", sources, self._effective)
        else:
            beta, gamma = self._effective()
        return ops.gdn(x, gamma, beta, inverse=self.inverse, overwrite=overwrite)

    def _effective(self) -> tuple[Tensor, Tensor]:
        """Beta and gamma as the equation has them, from the parameters that are trained."""
        return self.beta_reparam(self.beta), self.gamma_reparam(self.gamma)

    def _sources(self) -> list[Tensor] | None:
        """All that beta and gamma are computed from, None if not by the usual modules alone."""
        parts = (self.beta_reparam, self.gamma_reparam)
        if not plain(NonNegativeParametrizer, *parts):
            return None
        bounds = [part.lower_bound for part in parts]
        if not plain(LowerBound, *bounds):
            return None
        constants = [part.pedestal for part in parts] + [bound.bound for bound in bounds]
        return [self.beta, self.gamma, *constants]


class Sequential(nn.Sequential):
    """:class:`torch.nn.Sequential` that fuses a convolution with the activation behind it."""

    def forward(
        self, x: Tensor, residual: Tensor | None = None, last: nn.Module | None = None
    ) -> Tensor:
        """Runs the layers.

        Args:
            x: The first layer's input.
            residual: Added to the last layer's output.
            last: An activation behind that.
        """
        if (chain := integer_chain(self, x, residual is not None, last)) is not None:
            return chain(x, residual)
        layers = [*self, *([] if last is None else [last])]
        final = len(self) - 1
        i = 0
        while i < len(layers):
            layer = layers[i]
            skip = residual if i == final else None
            # An activation that is the last layer itself stands before the sum.
            summed = residual is not None and i + 1 == final
            fuse = i + 1 < len(layers) and not summed
            following = activation_of(layers[i + 1]) if fuse else None
            if plain(_FUSING, layer):
                x = layer(x, following or "none", skip)
            elif skip is None and plain(SubpixelConv, layer):
                x = layer(x, following or "none")
            elif skip is None and plain(GDN, layer):
                # The largest maps of a model stand between a convolution and its norm.
                x = layer(x, overwrite=i > 0 and plain(_MAKING, layers[i - 1]))
                following = None
            else:
                x = layer(x) if skip is None else layer(x) + skip
                following = None
            i += 1 if following is None else 2
        return x


_FUSING = (Conv2d, Linear, IntegerConv2d, IntegerLinear)
"""Layers that take an activation and a residual."""

_MAKING = (Conv2d, ConvTranspose2d, IntegerConv2d)
"""Layers whose result is their own, and may be overwritten."""


def activation_of(module: nn.Module) -> Activation | None:
    """The name under which an operator fuses this activation, None if it does not."""
    if not unwatched(module):
        return None
    if type(module) is ExactGELU or (type(module) is nn.GELU and module.approximate == "none"):
        return "gelu"
    if type(module) in (nn.ReLU, ExactReLU):
        return "relu"
    if type(module) is ExactLeakyReLU:
        return "leaky_relu"
    if type(module) is nn.LeakyReLU and module.negative_slope == 0.01:
        return "leaky_relu"
    return None


def applied(
    layer: nn.Module,
    x: Tensor,
    activation: Activation = "none",
    residual: Tensor | None = None,
    norm: nn.Module | None = None,
) -> Tensor:
    """``activation(layer(norm(x)) + residual)``, in one step where the modules are lic_fast's.

    Otherwise each is called by itself, as PyTorch would.
    """
    if norm is not None:
        if plain(Linear, layer):
            return layer(x, activation, residual, norm)
        x = norm(x)
    if plain(_FUSING, layer):
        return layer(x, activation, residual)
    if residual is None and plain(SubpixelConv, layer):
        return layer(x, activation)
    out = layer(x)
    return activated(out if residual is None else out + residual, activation)


def gdn_over(gdn: nn.Module, x: Tensor, maker: nn.Module) -> Tensor:
    """The normalised x, written over it where the convolution that made it has no other use."""
    if plain(GDN, gdn) and plain(_MAKING, maker):
        return gdn(x, overwrite=True)
    return gdn(x)


def inactive(module: nn.Module | None) -> bool:
    """Whether a dropout or stochastic depth gives back what it is given, and nobody asks for it."""
    if not plain((nn.Dropout, StochasticDepth, nn.Identity), module):
        return False
    kept: Any = module
    return not kept.training or getattr(kept, "p", 0) == 0


def plain_norm(norm: nn.Module | None) -> bool:
    """Whether it is lic_fast's or torch's norm of channels, with factors and offsets."""
    return plain((LayerNorm, nn.LayerNorm), norm) and _of_channels(norm)


def plain_conv(conv: nn.Module) -> bool:
    """Whether it is a convolution of lic_fast's, of stride 1 and of all channels."""
    if not plain(Conv2d, conv):
        return False
    form: Any = conv
    return _ordinary(form) and form.stride == (1, 1) and form.groups == 1


def fused_norm(norm: nn.Module | None, x: Tensor) -> tuple[Tensor, Norm | None]:
    """X and the norm of it that an operator is to compute, or its norm and None."""
    if norm is None:
        return x, None
    if plain(LayerNorm, norm) and _of_channels(norm):
        factors: Any = norm
        return x, (factors.weight, factors.bias, factors.eps)
    return norm(x), None


def _of_channels(norm: Any) -> bool:
    return len(norm.normalized_shape) == 1 and norm.weight is not None and norm.bias is not None


def _ordinary(conv: Any) -> bool:
    """Whether a convolution is as the operators know it: zero-padded and not dilated."""
    return (
        conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


class SubpixelConv(Sequential):
    """A convolution to r x r times the channels, which become r x r pixels.

    Shi et al., "Real-Time Single Image and Video Super-Resolution Using an
    Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016, section 3.2.
    """

    def forward(  # type: ignore[override]
        self, x: Tensor, activation: Activation = "none"
    ) -> Tensor:
        """(B, N, H, W) to (B, M, r * H, r * W), behind the activation."""
        if len(self) == 2:
            return subpixel_conv(x, self[0], self[1], activation)
        for layer in self:
            x = layer(x)
        return activated(x, activation)


def subpixel_conv(x: Tensor, conv: Any, shuffle: Any, activation: Activation = "none") -> Tensor:
    """A :class:`Conv2d`, a :class:`torch.nn.PixelShuffle` and the activation."""
    if _fused_shuffle(x, conv, shuffle):
        return _in_one_step(x, conv, shuffle, activation=activation)
    if plain(nn.PixelShuffle, shuffle):
        return shuffle(applied(conv, x, activation))
    return activated(shuffle(conv(x)), activation)


def _in_one_step(x: Tensor, conv: Any, shuffle: Any, **following: Any) -> Tensor:
    r = shuffle.upscale_factor
    return ops.subpixel_conv2d(x, conv.weight, conv.bias, r, padding=conv.padding, **following)


def _fused_shuffle(x: Tensor, conv: Any, shuffle: Any) -> bool:
    return plain_conv(conv) and plain(nn.PixelShuffle, shuffle) and fast_on_cpu(x, conv.weight)


def plus_subpixel_conv(residual: Tensor, up: nn.Module, x: Tensor) -> Tensor:
    """The sub-pixel convolution `up` of x and `residual`, which nobody else may hold."""
    layers: Any = up
    if plain(SubpixelConv, up) and len(layers) == 2:
        conv, shuffle = layers
        # Of filtered convolutions the sum takes as long in one step as in two.
        if _fused_shuffle(x, conv, shuffle) and tile_convolution.fits(
            x, conv.weight, conv.stride, conv.padding
        ):
            return _in_one_step(x, conv, shuffle, residual=residual)
    return added(residual, up(x))


def added(x: Tensor, y: Tensor) -> Tensor:
    """The sum, written over `x`, which nobody else may hold, where no gradient is asked for."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return x + y
    if fast_on_cpu(x, y) and x.dtype == y.dtype:
        rows = x.permute(0, 2, 3, 1)
        ops.residual_sum(rows, y.permute(0, 2, 3, 1), out=rows)
        return x
    return x.add_(y)


def conv(in_channels: int, out_channels: int, kernel_size: int = 5, stride: int = 2) -> Conv2d:
    """A convolution padded by half its size."""
    return Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)


def deconv(
    in_channels: int, out_channels: int, kernel_size: int = 5, stride: int = 2
) -> ConvTranspose2d:
    """Its transpose, to `stride` times as many rows and columns."""
    return ConvTranspose2d(
        in_channels, out_channels, kernel_size, stride, kernel_size // 2, stride - 1
    )


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> Conv2d:
    """A 1x1 convolution."""
    return Conv2d(in_channels, out_channels, 1, stride)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> Conv2d:
    """A 3x3 convolution padded by one."""
    return Conv2d(in_channels, out_channels, 3, stride, 1)


def subpel_conv3x3(in_channels: int, out_channels: int, r: int = 1) -> SubpixelConv:
    """A 3x3 sub-pixel convolution."""
    return SubpixelConv(Conv2d(in_channels, out_channels * r * r, 3, padding=1), nn.PixelShuffle(r))
