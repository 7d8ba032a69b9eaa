"""Convolutions and linear maps of integers, between maps of float32."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from lic_fast.entropy.integer.fixed import FixedDtype, check_positive
from lic_fast.entropy.integer.quantizer import step_of
from lic_fast.entropy.integer.recorded import Recorded
from lic_fast.entropy.integer.rounding import round_layer, smallest_scale
from lic_fast.ops.integer_layer import Activation, Quantizer, integer_layer
from lic_fast.ops.prepared import prepared

__all__ = ["IntegerConv2d", "IntegerLinear"]

# Sums, bias included, stay below this: a bit less than 32 bits hold.
_LARGEST_SUM = 2**31 - 2**24


class IntegerConv2d(FixedDtype):
    """A convolution padded by half its kernel, as :func:`lic_fast.ops.integer_layer` defines it.

    Its input is quantised first, by what it holds of its input's ranges.

    Args:
        in_channels: N.
        out_channels: M.
        kernel_size: k, odd.
        stride: Steps along rows and columns.

    Attributes:
        weight: (M, N, k, k) int8.
        bias: (M,) int32, in units of the sums.
        scale: (M,) float32, what a unit of the sums stands for.
        inverse_step: (N,) float32, see :class:`lic_fast.ops.integer_layer.Quantizer`.
        zero: (N,) int32.
        precision: (2,) uint8: bits of an activation, 7 or 14, and how many of its
            halves are read; one of two is the high one.
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor
    inverse_step: Tensor
    zero: Tensor
    precision: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.stride = stride
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("bias", torch.zeros(out_channels, dtype=torch.int32))
        self.register_buffer("scale", torch.ones(out_channels))
        self.register_buffer("inverse_step", torch.ones(in_channels))
        self.register_buffer("zero", torch.zeros(in_channels, dtype=torch.int32))
        self.register_buffer("precision", torch.tensor([7, 1], dtype=torch.uint8))
        self._bits, self._halves = 7, 1

    @classmethod
    def like(cls, conv: nn.Conv2d) -> IntegerConv2d:
        """One of the same shape, yet without numbers.

        Raises:
            ValueError: The convolution is of a kind that there is none for.
        """
        (k, columns), (stride, across) = conv.kernel_size, conv.stride
        padded = conv.padding == (k // 2, k // 2) and conv.padding_mode == "zeros"
        if k != columns or stride != across or not padded or conv.groups != 1 or k % 2 == 0:
            raise ValueError(f"no integer layer for {conv}")
        return cls(conv.in_channels, conv.out_channels, k, stride)

    def _load_from_state_dict(self, *args: Any, **keywords: Any) -> None:
        super()._load_from_state_dict(*args, **keywords)
        self._bits, self._halves = self.precision.tolist()

    @property
    def quantizer(self) -> Quantizer:
        """Of the input."""
        return Quantizer(self.inverse_step, self.zero, self._bits)

    @property
    def border(self) -> list[Tensor]:
        """The activations beyond the edges, (N,) uint8 for each half that is read.

        The same tensors for as long as their numbers stay, so that what is prepared from them
        is found again.
        """
        made = prepared(("border", self._bits), [self.zero], self.quantizer.border)
        return made[: self._halves]

    @property
    def halves(self) -> int:
        """Halves of an activation that the sums read."""
        return self._halves

    @torch.no_grad()
    def fill(
        self,
        weight: Tensor,
        bias: Tensor | None,
        quantizer: Quantizer,
        halves: int,
        mean: Tensor | None = None,
        covariance: Tensor | None = None,
    ) -> None:
        """Takes the numbers of a convolution in floating point.

        Weights are rounded to a scale for each output channel, and the bias makes up
        for what that moves the channel's mean by:
        :func:`lic_fast.entropy.integer.rounding.round_layer`.

        Args:
            weight: (M, N, k, k), or of a linear map (M, N).
            bias: (M,) or None.
            quantizer: Of the input.
            halves: Halves that are read, 1 or 2.
            mean: (N,), of the input's channels, for the bias.
            covariance: (N k^2, N k^2) float32 of the inputs of a row; without it each weight
                goes to its nearest integer.

        Raises:
            ValueError: No scale keeps the sums within 32 bits.
        """
        shape = self.weight.shape
        step, zero = step_of(quantizer, halves)
        zeros = zero.double().repeat_interleave(shape[2] * shape[3])
        scale = smallest_scale(weight, step)
        for _ in range(8):
            scale = scale.to(torch.float32).double()
            rounded, units_of_bias = round_layer(weight, bias, step, scale, mean, covariance)
            units_of_bias -= (rounded * zeros).sum(1)
            excess = _largest(rounded, units_of_bias, halves) / _LARGEST_SUM
            if float(excess.max()) <= 1:
                break
            scale = scale * excess.clamp(min=1) * 1.001
        else:
            raise ValueError("no scale of the weights keeps their sums within 32 bits")
        self.weight.copy_(rounded.view(shape))
        self.bias.copy_(units_of_bias)
        self.scale.copy_(scale)
        self.inverse_step.copy_(quantizer.inverse_step)
        self.zero.copy_(quantizer.zero)
        self.precision.copy_(torch.tensor([quantizer.bits, halves]))
        self._bits, self._halves = quantizer.bits, halves

    def check(self) -> None:
        """Refuses numbers with which the layer would not be exact, as a file may hold them.

        Raises:
            ValueError: A number is out of its range; the message says which.
        """
        if (self._bits, self._halves) not in ((7, 1), (14, 1), (14, 2)):
            raise ValueError(f"an activation has 7 bits or 14 in two halves, not {self.precision}")
        check_positive(self, "scale", "inverse_step")
        if not bool(((self.zero >= 0) & (self.zero < 2**self._bits)).all()):
            raise ValueError(f"zero must be in 0..{2**self._bits - 1}")
        if self.largest_sum() >= 2**31:
            raise ValueError(f"a sum may reach {self.largest_sum()}, which 32 bits do not hold")

    def largest_sum(self) -> int:
        """The largest magnitude of any sum or partial sum, with and without the bias."""
        rows = self.weight.detach().flatten(1).double()
        return int(_largest(rows, self.bias.double(), self._halves).max())

    def forward(
        self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(B, N, H, W) float32 to (B, M, H', W') float32, ``activation(conv(x) + residual)``."""
        if isinstance(x, Recorded):
            return cast(Any, x).layer(self, activation, residual)
        quantizer = self.quantizer
        out = integer_layer(
            quantizer(x)[: self._halves],
            self.weight,
            self.bias,
            self.scale,
            border=self.border,
            stride=self.stride,
            activation=activation,
            residual=residual,
        )
        assert isinstance(out, Tensor)
        return out


class IntegerLinear(IntegerConv2d):
    """A linear map of the last dimension of (B, H, W, N): a convolution of one tap."""

    @classmethod
    def like(cls, linear: Any) -> IntegerLinear:
        """One of the same shape, yet without numbers."""
        return cls(linear.in_features, linear.out_features, 1)

    def forward(
        self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(B, H, W, N) float32 to (B, H, W, M) float32."""
        skip = None if residual is None else residual.permute(0, 3, 1, 2)
        return super().forward(x.permute(0, 3, 1, 2), activation, skip).permute(0, 2, 3, 1)


def _largest(weight: Tensor, bias: Tensor, halves: int) -> Tensor:
    """The largest magnitude of each row's sums, whatever the order; exact in float64.

    Activations are not negative: every partial sum lies between that of the negative
    weights and that of the positive ones, each times the largest activation.
    """
    largest = 128**halves - 1
    above, below = weight.clamp(min=0).sum(1) * largest, weight.clamp(max=0).sum(1) * largest
    bounds = (above, -below, (above + bias).abs(), (below + bias).abs(), bias.abs())
    return torch.stack(bounds).amax(0)
