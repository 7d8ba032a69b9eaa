"""Rules for the models' own modules that are more than a few of PyTorch's functions.

Imported on first use, since it imports the models.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lic_fast.engine.registry import lowers
from lic_fast.engine.unsupported import Unsupported
from lic_fast.engine.values import Value
from lic_fast.models.layers import WindowAttention
from lic_fast.models.stf_resampling import PatchMerging, PatchSplit
from lic_fast.models.tcm import WMSA

__all__: list[str] = []


def _attention(
    qkv: Any,
    table: Tensor,
    window: int,
    shift: int,
    scale: float | None,
    mask_value: float,
    pad_value: Tensor | None,
) -> Value:
    heads = table.shape[1]
    if not isinstance(qkv, Value) or not qkv.last or qkv.channels % (3 * heads):
        raise Unsupported("queries, keys and values are no map of tokens")
    channels = qkv.channels // 3
    return qkv.node(
        "window_attention",
        channels=channels,
        weights={"table": table, "pad_value": pad_value},
        window=int(window),
        shift=int(shift),
        scale=float((channels // heads) ** -0.5 if scale is None else scale),
        mask_value=float(mask_value),
    )


@lowers(WindowAttention)
def _window_attention(module: Any, x: Value) -> Value:
    if type(module.qkv) is not nn.Linear:
        raise Unsupported("the map to queries, keys and values is no nn.Linear")
    attended = _attention(
        module.qkv(x),
        module.relative_position_bias_table,
        module.window_size,
        module.shift,
        module.qk_scale,
        -100.0,
        module.qkv.bias,
    )
    return module.proj_drop(module.proj(attended))


@lowers(WMSA)
def _wmsa(module: Any, x: Value) -> Value:
    if getattr(module, "attention", None) is not None:
        raise Unsupported("attention in integers")
    attended = _attention(
        module.embedding_layer(x),
        module.relative_position_params.flatten(1).T,
        module.window_size,
        module.shift,
        None,
        float("-inf"),
        None,
    )
    return module.linear(attended)


@lowers(PatchMerging)
def _patch_merging(module: Any, x: Value) -> Value:
    corners = x.node("space_to_depth", channels=4 * x.channels, factor=2, order="columns_first")
    return module.reduction(module.norm(corners))


@lowers(PatchSplit)
def _patch_split(module: Any, x: Value) -> Value:
    wide: Any = module.reduction(module.norm(x)).permute(0, 3, 1, 2)
    shuffled: Any = F.pixel_shuffle(wide, 2)
    return shuffled.permute(0, 2, 3, 1)
