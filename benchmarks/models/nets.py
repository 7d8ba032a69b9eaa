"""The models with random weights whose latents cost about what a trained model's do, and inputs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import lic_fast
from lic_fast.models import TCM, WACNN, SliceCompressionModel, SymmetricalTransFormer

MODELS: dict[str, Callable[[], SliceCompressionModel]] = {
    "STF": SymmetricalTransFormer,
    "WACNN": WACNN,
    "TCM": lambda: TCM(N=64),
}
TITLES = {"STF": "STF", "WACNN": "WACNN", "TCM": "TCM, N=64"}
_Z_DEVIATION = 1.0
_Y_DEVIATION = 0.15


class Input(NamedTuple):
    """What is encoded: `WIDTHxHEIGHT` pixels, or `WIDTHxHEIGHTxBATCH`."""

    width: int
    height: int
    batch: int = 1

    @classmethod
    def parse(cls, text: str) -> Input:
        """From its text.

        Raises:
            ValueError: It is no such text.
        """
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", text):
            raise ValueError(f"{text} is not WIDTHxHEIGHT or WIDTHxHEIGHTxBATCH")
        return cls(*map(int, text.split("x")))

    def __str__(self) -> str:
        return "x".join(map(str, self if self.batch > 1 else self[:2]))

    def padded(self, multiple: int) -> Input:
        """With sides rounded up to what a model takes."""
        return Input(
            -(-self.width // multiple) * multiple,
            -(-self.height // multiple) * multiple,
            self.batch,
        )

    def picture(self) -> Tensor:
        """Noise, (B, 3, H, W)."""
        generator = torch.Generator().manual_seed(1)
        return torch.rand(self.batch, 3, self.height, self.width, generator=generator)


@torch.no_grad()
def build(name: str) -> SliceCompressionModel:
    """The model on the CPU in evaluation mode, with CDF tables.

    As constructed, a model's symbols are all zero or all escapes, which no coder is made for.
    Here the channels of y have deviations that differ by orders of magnitude, as in a trained
    model, and the predicted scales are those of the residuals, on average over the positions.
    """
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    x = Input(256, 256).picture()
    with lic_fast.backend("reference"):
        y = model.analysis(x)
        last = _last_layers(model)
        _scale(last, _Y_DEVIATION * torch.randn(y.shape[1]).exp() / _deviation(y))
        last[-1].bias -= model.analysis(x).mean((0, 2, 3))
        y = model.analysis(x)
        _scale([model.h_a[-1]], _Z_DEVIATION / _deviation(model.h_a(y)))
        seen: list[tuple[Tensor, ...]] = []
        hook = model.gaussian_conditional.register_forward_hook(
            lambda module, inputs, output: seen.append(inputs)
        )
        model(x)
        hook.remove()
        y, _, means = seen[0]
        residuals = (y - means).square().mean((0, 2, 3)).sqrt().chunk(model.num_slices)
        for network, scale in zip(model.cc_scale_transforms, residuals, strict=True):
            network[-1].bias += scale
    model.update()
    return model


def _deviation(x: Tensor) -> Tensor:
    """Of each channel."""
    return x.std((0, 2, 3))


def _last_layers(model: SliceCompressionModel) -> list[Any]:
    """Those whose output channels are, up to what follows or is added, the channels of y."""
    if isinstance(model, SymmetricalTransFormer):
        blocks = model.layers[-1].blocks
        writers = [layer for block in blocks for layer in (block.attn.proj, block.mlp.fc2)]
        return [model.layers[-2].downsample.reduction, *writers]
    return [model.g_a[7] if isinstance(model, WACNN) else model.g_a[-1]]


def _scale(layers: list[nn.Module], factors: Tensor) -> None:
    for layer in layers:
        for parameter in layer.parameters():
            parameter *= factors.view(-1, *[1] * (parameter.dim() - 1))
