"""The modules of a portable entropy path, in the places of those of a floating-point one."""

from __future__ import annotations

from typing import Any

from compressai.layers import GDN
from torch import nn
from torchvision.ops import StochasticDepth

from lic_fast.entropy.integer.activation import (
    ExactGELU,
    ExactLeakyReLU,
    ExactReLU,
    ExactSigmoid,
)
from lic_fast.entropy.integer.attention import IntegerWindowAttention
from lic_fast.entropy.integer.conv import IntegerConv2d, IntegerLinear
from lic_fast.entropy.integer.norm import ExactGDN, ExactLayerNorm
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.layers import ResidualUnit
from lic_fast.models.portable.blocks import (
    IntegerBlock,
    IntegerConvTransBlock,
    IntegerResidualBlock,
    IntegerResidualBlockUpsample,
    IntegerResidualUnit,
    IntegerSequential,
    IntegerSubpixelConv,
    IntegerWMSA,
)
from lic_fast.models.portable.maps import ENTROPY_PATH
from lic_fast.models.residual_blocks import ResidualBlock, ResidualBlockUpsample
from lic_fast.models.tcm import WMSA, Block, ConvTransBlock

__all__ = ["attention_of", "become_portable", "twin"]

_BLOCKS: dict[type[nn.Module], type[nn.Module]] = {
    Block: IntegerBlock,
    ConvTransBlock: IntegerConvTransBlock,
    ResidualBlock: IntegerResidualBlock,
    ResidualBlockUpsample: IntegerResidualBlockUpsample,
    ResidualUnit: IntegerResidualUnit,
    WMSA: IntegerWMSA,
    nn.Sequential: IntegerSequential,
}
"""What the blocks of an entropy path become, which hold other modules."""


def twin(module: nn.Module) -> nn.Module | None:
    """The exact module in the place of one in floating point, yet without numbers.

    None for a module that only holds others.

    Raises:
        ValueError: There is none for this one.
    """
    if isinstance(module, nn.Conv2d):
        return IntegerConv2d.like(module)
    if isinstance(module, nn.Linear):
        return IntegerLinear.like(module)
    if isinstance(module, nn.LayerNorm):
        return ExactLayerNorm(module.normalized_shape[0])
    if isinstance(module, GDN):
        return ExactGDN(len(module.beta), module.inverse)
    if isinstance(module, nn.GELU) and module.approximate == "none":
        return ExactGELU()
    if isinstance(module, nn.LeakyReLU) and module.negative_slope == 0.01:
        return ExactLeakyReLU()
    if isinstance(module, nn.ReLU):
        return ExactReLU()
    if isinstance(module, nn.Sigmoid):
        return ExactSigmoid()
    if (
        isinstance(module, (nn.PixelShuffle, StochasticDepth))
        or next(module.children(), None) is not None
    ):
        return None
    raise ValueError(f"no exact module for {module}")


def _block(module: nn.Module) -> type[nn.Module]:
    if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.PixelShuffle):
        return IntegerSubpixelConv
    return _BLOCKS[type(module)]


def attention_of(module: WMSA) -> IntegerWindowAttention:
    """What stands between the linear maps of a TCM's attention, yet without numbers."""
    heads, side, _ = module.relative_position_params.shape
    channels = module.linear.in_features
    return IntegerWindowAttention(channels, heads, (side + 1) // 2, module.shift)


def become_portable(model: SliceCompressionModel) -> dict[str, nn.Module]:
    """Puts exact modules, without numbers yet, into the model's entropy path.

    Returns:
        The modules that were replaced, by the names of those in their places.
    """
    replaced: dict[str, nn.Module] = {}
    inside: tuple[str, ...] = ()
    for name, module in list(model.named_modules()):
        if not name.startswith(ENTROPY_PATH) or name.startswith(inside):
            continue
        if isinstance(module, WMSA):
            replaced[f"{name}.attention"] = module
            module.attention = attention_of(module)
            module.register_parameter("relative_position_params", None)
        exact = twin(module)
        if exact is not None:
            parent, _, child = name.rpartition(".")
            owner: Any = model.get_submodule(parent)
            setattr(owner, child, exact)
            replaced[name] = module
            inside += (f"{name}.",)
        elif type(module) in _BLOCKS:
            module.__class__ = _block(module)
    model.portable = True
    return replaced
