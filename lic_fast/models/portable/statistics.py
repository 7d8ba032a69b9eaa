"""What the layers of an entropy path read while the calibration pictures are coded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lic_fast.entropy.integer.observed import Observed

__all__ = ["Code", "covariances", "observe", "passes"]

# Positions of each map of which a convolution's input is taken for its covariance.
_POSITIONS = 128
# Of covariances that are gathered at a time, in bytes.
_LARGEST_PASS = 2**31

Code = Callable[[], object]
"""Codes all calibration pictures."""


def observe(
    code: Code, inputs: Mapping[str, nn.Module], outputs: Mapping[str, nn.Module]
) -> dict[str, Observed]:
    """The ranges of maps.

    Args:
        code: Runs the model, through its modules, on all calibration pictures.
        inputs: Modules whose input to observe, by the names in the result.
        outputs: Modules whose output to observe.
    """
    seen: dict[str, Observed] = {}

    def look(name: str, x: Tensor, module: nn.Module) -> None:
        now = Observed.of(x, _channels_of(module))
        seen[name] = seen[name] + now if name in seen else now

    def before(name: str) -> Any:
        return lambda module, arguments: look(name, arguments[0], module)

    def after(name: str) -> Any:
        return lambda module, arguments, out: look(name, out, module)

    handles = [m.register_forward_pre_hook(before(name)) for name, m in inputs.items()]
    handles += [m.register_forward_hook(after(name)) for name, m in outputs.items()]
    with _removed(handles):
        code()
    return seen


def covariances(code: Code, layers: Mapping[str, nn.Module], seed: int = 0) -> dict[str, Tensor]:
    """The covariances of what layers, convolutions or linear maps, multiply with their weights.

    Taken at some positions of each map, at random: (K, K) float32, K the weights of a row.
    """
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, tuple[Tensor, Tensor, int]] = {}

    def before(name: str) -> Any:
        def look(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            rows = _rows(module, arguments[0].detach(), generator)
            matrix, total, count = sums.get(name, (None, 0.0, 0))
            if matrix is None:
                matrix = torch.zeros(rows.shape[1], rows.shape[1])
            sums[name] = (
                matrix.addmm_(rows.T, rows),
                total + rows.double().sum(0),
                count + len(rows),
            )

        return look

    with _removed([m.register_forward_pre_hook(before(name)) for name, m in layers.items()]):
        code()
    found: dict[str, Tensor] = {}
    for name, (matrix, total, count) in sums.items():
        mean = total / count
        matrix.div_(count).sub_(mean.float()[:, None] * mean.float())
        found[name] = matrix
    return found


def passes(layers: Mapping[str, nn.Module]) -> list[dict[str, nn.Module]]:
    """The layers in groups whose covariances fit into memory side by side."""
    groups: list[dict[str, nn.Module]] = [{}]
    size = 0
    for name, layer in layers.items():
        weight: Any = layer.weight
        bytes_needed = 4 * weight[0].numel() ** 2
        if groups[-1] and size + bytes_needed > _LARGEST_PASS:
            groups.append({})
            size = 0
        groups[-1][name] = layer
        size += bytes_needed
    return groups


def _rows(layer: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
    """(positions, K): what the layer's rows of weights are multiplied with, at some places."""
    if not isinstance(layer, nn.Conv2d):
        tokens = x.flatten(0, -2)
        return tokens[torch.randperm(len(tokens), generator=generator)[:_POSITIONS]]
    k, stride = layer.kernel_size[0], layer.stride[0]
    height, width = (-(-side // stride) for side in x.shape[2:])
    chosen = torch.randperm(len(x) * height * width, generator=generator)[:_POSITIONS]
    image, place = chosen // (height * width), chosen % (height * width)
    taps = torch.arange(k)
    rows = (stride * (place // width))[:, None] + taps
    columns = (stride * (place % width))[:, None] + taps
    padded = F.pad(x, (k // 2,) * 4)
    patches = padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return patches.permute(0, 3, 1, 2).flatten(1)


def _channels_of(module: nn.Module) -> int:
    """The dimension that channels have in a module's input and output."""
    return -1 if isinstance(module, (nn.Linear, nn.LayerNorm)) else 1


@contextmanager
def _removed(handles: Sequence[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
