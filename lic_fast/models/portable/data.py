"""A portable model's networks and numbers in arrays, as its file and the runtime have them."""

from __future__ import annotations

from typing import Any

import torch

from lic_fast.engine.capture import capture
from lic_fast.engine.program import array_of
from lic_fast.engine.unsupported import Unsupported
from lic_fast.entropy.integer.path import path_of
from lic_fast.entropy.integer.recorded import UnrecordableError
from lic_fast.models.base import SliceCompressionModel
from lic_fast.runtime.file import ModelData
from lic_fast.runtime.graph import Graph

__all__ = ["model_data"]


@torch.no_grad()
def model_data(model: SliceCompressionModel) -> ModelData:
    """All that the runtime needs of a portable model, on the CPU.

    Raises:
        ValueError: One of its networks is watched, or computes what no program does.
    """
    bottleneck, conditional = model.entropy_bottleneck, model.gaussian_conditional
    y_gain, y_inv_gain = model.y_gain, model.y_inv_gain
    gains = None
    if y_gain is not None and y_inv_gain is not None:
        gains = array_of(y_gain), array_of(y_inv_gain)
    networks = model.slice_networks()
    try:
        path = path_of(model.h_mean_s, model.h_scale_s, networks, bottleneck.channels)
    except UnrecordableError as error:
        raise ValueError(f"the entropy path is no program: {error}") from None
    return ModelData(
        architecture=model.architecture,
        multiple=model.multiple,
        z_downsampling=model.z_downsampling,
        fingerprint=model.fingerprint(),
        analysis=_graph(model, "analysis", 3),
        synthesis=_graph(model, "synthesis", model.M),
        hyper_analysis=_graph(model.h_a, "forward", model.M),
        path=path,
        medians=array_of(bottleneck.quantiles[:, 0, 1]),
        scale_table=array_of(conditional.scale_table),
        z_tables=_tables(bottleneck),
        y_tables=_tables(conditional),
        gains=gains,
    )


def _graph(network: Any, method: str, channels: int) -> Graph:
    try:
        return capture(network, method, channels).graph.with_weights(array_of)
    except Unsupported as error:
        raise ValueError(f"the {method} is no program: {error}") from None


def _tables(module: Any) -> Any:
    buffers = (module._quantized_cdf, module._cdf_length, module._offset)
    return tuple(buffer.int().numpy() for buffer in buffers)
