"""The rounding of a portable model in the training of the one that it will be made from.

While :meth:`Simulation.applied` holds, the convolutions and linear maps of the entropy path
compute, in float32, what the integer layers in their places would: weights of 8 bits with a
scale for each output channel, activations on the grids that :func:`make_portable` would choose,
biases corrected for the mean of what rounding moves. Gradients pass straight through the
rounding (Bengio, Léonard and Courville, arXiv 1308.3432; for integer inference Jacob et al.,
CVPR 2018, section 3).

Two things differ from the model that is made in the end. Weights of layers that read 14 bits
are rounded to the nearest integer, not by covariances, which takes too long for a step. And
norms, attention and activation functions, whose grids are finer, stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lic_fast.entropy.integer.quantizer import step_of
from lic_fast.entropy.integer.rounding import round_layer, smallest_scale
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.portable.calibration import calibrate, coder, latents_of
from lic_fast.ops.integer_layer import Quantizer

__all__ = ["Simulation", "straight_through"]


class _Grid(NamedTuple):
    """Of the activations that a layer reads.

    Attributes:
        inverse_step: (N,) float32, see :class:`lic_fast.ops.integer_layer.Quantizer`.
        zero: (N,) int32.
        bits: Of an activation, 14 or 7.
        halves: How many halves of an activation are read.
        mean: (N,) float64, of the channels, for the bias.
    """

    inverse_step: Tensor
    zero: Tensor
    bits: int
    halves: int
    mean: Tensor


class Simulation:
    """Grids of the activations of a model's entropy path, and layers that round to them.

    The grids belong to the weights that the model had when they were chosen; choose them again
    every so often.

    Args:
        model: In floating point. Its modules and state dict stay as they are.
        bits: Of activations in the mean and scale networks, 14 or 7.
    """

    def __init__(self, model: SliceCompressionModel, bits: int) -> None:
        self._model = model
        self._bits = bits
        self._grids: dict[str, _Grid] = {}

    @property
    def ready(self) -> bool:
        """Whether there are grids."""
        return bool(self._grids)

    @torch.no_grad()
    def choose(self, images: Sequence[Tensor]) -> None:
        """Chooses the grids as :func:`make_portable` would with the weights as they are.

        Args:
            images: (3, H, W) each, in [0, 1].

        Raises:
            ValueError: There are none, or one has another form.
        """
        model = copy.deepcopy(self._model).float().eval()
        code = coder(model, latents_of(model, images, _silent), _silent)
        seen, layers, inputs = calibrate(model, code("ranges"), self._bits)
        self._grids = {
            name: _Grid(*inputs[name], layer.halves, seen[name].mean)
            for name, layer in layers.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The grids, as plain values and tensors."""
        return {name: grid._asdict() for name, grid in self._grids.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What :meth:`state_dict` gave, for the same model."""
        device = self._model._medians().device

        def moved(value: Any) -> Any:
            return value.to(device) if isinstance(value, Tensor) else value

        self._grids = {
            name: _Grid(*(moved(grid[key]) for key in _Grid._fields))
            for name, grid in state.items()
        }

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model's layers round, if there are grids."""
        layers: dict[str, Any] = {name: self._model.get_submodule(name) for name in self._grids}
        for name, layer in layers.items():
            layer.forward = _rounding(layer, self._grids[name])
        try:
            yield
        finally:
            for layer in layers.values():
                del layer.forward


def _silent(what: str, done: int, total: int) -> None:
    """Tells nobody."""


def _rounding(layer: Any, grid: _Grid) -> Callable[[Tensor], Tensor]:
    """The layer's forward with rounded weights and activations."""
    linear = isinstance(layer, nn.Linear)
    step, offset = step_of(Quantizer(*grid[:3]), grid.halves)
    channels = (-1,) if linear else (-1, 1, 1)
    inverse_step, zero, offset, float_step = (
        part.float().view(channels) for part in (grid.inverse_step, grid.zero, offset, step)
    )
    high_half = grid.halves * 7 < grid.bits

    def forward(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            read = ((x.detach() * inverse_step).round() + zero).clamp(0, 2**grid.bits - 1)
            if high_half:
                read = (read / 128).floor()
            x = straight_through(x, (read - offset) * float_step)
            weight, bias = _rounded(layer, step, grid.mean)
            if linear:
                return F.linear(x, weight, bias)
            return F.conv2d(x, weight, bias, layer.stride, layer.padding)

    return forward


def _rounded(layer: Any, step: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias as the integer layer will hold them."""
    with torch.no_grad():
        scale = smallest_scale(layer.weight, step).float().double()
        units, units_of_bias = round_layer(layer.weight, layer.bias, step, scale, mean)
        rows = (units * scale[:, None]).view(len(units), len(step), -1) / step[:, None]
        weight, bias = rows.view_as(layer.weight).float(), (units_of_bias * scale).float()
    if layer.bias is not None:
        bias = straight_through(layer.bias, bias)
    return straight_through(layer.weight, weight), bias


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """Exactly `value`, with the gradient of x."""
    found: Tensor = _StraightThrough.apply(x, value)
    return found


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
