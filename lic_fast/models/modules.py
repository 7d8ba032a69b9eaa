"""The modules that models are made of, on the operators of :mod:`lic_fast.ops`.

They are torch's and CompressAI's modules, with their parameters and state-dict
names; only ``forward`` goes to an operator that has a fast path.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from compressai.layers import GDN as CompressaiGDN
from torch import Tensor, nn

from lic_fast import ops
from lic_fast.entropy.integer.activation import ExactGELU, ExactLeakyReLU, ExactReLU
from lic_fast.entropy.integer.chain import integer_chain
from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.ops import tile_convolution
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.onednn import Activation, Pair
from lic_fast.ops.row_products import Norm

__all__ = [
    "GDN",
    "Conv2d",
    "ConvTranspose2d",
    "LayerNorm",
    "Linear",
    "Sequential",
    "SubpixelConv",
    "added",
    "conv",
    "conv1x1",
    "conv3x3",
    "deconv",
    "fused_norm",
    "fusible",
    "normed",
    "subpel_conv3x3",
    "subpixel_conv",
    "watched",
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
        if self.weight is None or self.bias is None:
            return super().forward(x)
        return ops.layer_norm(x, self.weight, self.bias, self.eps)


class Conv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d`, zero-padded and not dilated, by :func:`lic_fast.ops.conv2d`."""

    def forward(
        self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(B, N, H, W) to (B, M, H', W')."""
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
    """:class:`torch.nn.ConvTranspose2d`, not dilated, by :func:`lic_fast.ops.conv_transpose2d`."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, N, H, W) to (B, M, H', W')."""
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
        if fast_on_cpu(x, self.beta, self.gamma):
            # Made once, so that what is packed of them stays.
            beta, gamma = ops.prepared("gdn", [self.beta, self.gamma], self._effective)
        else:
            beta, gamma = self._effective()
        return ops.gdn(x, gamma, beta, inverse=self.inverse, overwrite=overwrite)

    def _effective(self) -> tuple[Tensor, Tensor]:
        """Beta and gamma as the equation has them, from the parameters that are trained."""
        return self.beta_reparam(self.beta), self.gamma_reparam(self.gamma)


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
            # The largest maps of a model stand between a convolution and its norm.
            fresh = i > 0 and isinstance(layers[i - 1], (nn.Conv2d, nn.ConvTranspose2d))
            seen = watched(layer)
            if not seen and isinstance(layer, (Conv2d, Linear, IntegerConv2d)):
                x = layer(x, following or "none", skip)
            elif not seen and isinstance(layer, SubpixelConv) and skip is None:
                x = layer(x, following or "none")
            elif not seen and isinstance(layer, GDN) and skip is None:
                x = layer(x, overwrite=fresh and not watched(layers[i - 1]))
                following = None
            else:
                x = layer(x) if skip is None else layer(x) + skip
                following = None
            i += 1 if following is None else 2
        return x


def activation_of(module: nn.Module) -> Activation | None:
    """The name under which an operator fuses this activation, None if it does not."""
    if watched(module):
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


def fusible(kind: type[nn.Module], *modules: nn.Module) -> bool:
    """Whether all modules are of this class itself and nobody watches them."""
    return all(type(module) is kind and not watched(module) for module in modules)


def fused_norm(norm: nn.Module | None, x: Tensor) -> tuple[Tensor, Norm | None]:
    """X and the norm of it that an operator is to compute, or its norm and None."""
    if norm is None:
        return x, None
    if (
        isinstance(norm, LayerNorm)
        and fusible(LayerNorm, norm)
        and norm.weight is not None
        and norm.bias is not None
    ):
        return x, (norm.weight, norm.bias, norm.eps)
    return norm(x), None


def normed(linear: nn.Module, norm: nn.Module | None, x: Tensor) -> Tensor:
    """The linear map of the norm of x, in one step where nobody wants what is between."""
    if isinstance(linear, Linear) and fusible(Linear, linear):
        return linear(x, norm=norm)
    return linear(x if norm is None else norm(x))


def watched(module: nn.Module) -> bool:
    """Whether it has hooks."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


class SubpixelConv(Sequential):
    """A convolution to r x r times the channels, which become r x r pixels.

    Shi et al., "Real-Time Single Image and Video Super-Resolution Using an
    Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016, section 3.2.
    """

    def forward(  # type: ignore[override]
        self, x: Tensor, activation: Activation = "none"
    ) -> Tensor:
        """(B, N, H, W) to (B, M, r * H, r * W), behind the activation."""
        return subpixel_conv(x, self[0], self[1], activation)

    def added_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """The result for x, and `residual`, which nobody else may hold."""
        conv: Any = self[0]
        shuffle: Any = self[1]
        fused = not watched(self) and _fused_shuffle(x, conv, shuffle)
        # Of filtered convolutions the sum takes as long in one step as in two.
        if not fused or not tile_convolution.fits(x, conv.weight, conv.stride, conv.padding):
            return added(residual, self(x))
        return _in_one_step(x, conv, shuffle, residual=residual)


def subpixel_conv(x: Tensor, conv: Any, shuffle: Any, activation: Activation = "none") -> Tensor:
    """A :class:`Conv2d`, the activation and a :class:`torch.nn.PixelShuffle`."""
    if not _fused_shuffle(x, conv, shuffle):
        return shuffle(conv(x, activation))
    return _in_one_step(x, conv, shuffle, activation=activation)


def _in_one_step(x: Tensor, conv: Any, shuffle: Any, **following: Any) -> Tensor:
    r = shuffle.upscale_factor
    return ops.subpixel_conv2d(x, conv.weight, conv.bias, r, padding=conv.padding, **following)


def _fused_shuffle(x: Tensor, conv: Any, shuffle: Any) -> bool:
    if not isinstance(conv, Conv2d) or watched(conv) or watched(shuffle):
        return False
    return conv.stride == (1, 1) and conv.groups == 1 and fast_on_cpu(x, conv.weight)


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
