"""Operators, one per file, each with its definition in plain PyTorch.

On CUDA devices some are a launch of a Triton kernel. On the CPU those of floating-point networks
are their definitions: what runs fast there is whole networks, see :mod:`lic_fast.engine`. Those of
integers, and the quantisation of latents, are C++ on the CPU.
"""

from lic_fast.ops import integer_launch as _integer_launch  # noqa: F401
from lic_fast.ops.add_residual import add_residual
from lic_fast.ops.backend import Backend, backend, current_backend
from lic_fast.ops.conv3x3 import conv3x3
from lic_fast.ops.exact_add_residual import exact_add_residual
from lic_fast.ops.exact_layer_norm import exact_layer_norm
from lic_fast.ops.exact_quantize import exact_quantize
from lic_fast.ops.exact_sigmoid import exact_sigmoid
from lic_fast.ops.exact_window_attention import exact_window_attention
from lic_fast.ops.feed_forward import feed_forward
from lic_fast.ops.gdn import gdn
from lic_fast.ops.integer_conv2d import integer_conv2d
from lic_fast.ops.integer_layer import integer_layer
from lic_fast.ops.integer_network import IntegerNetwork
from lic_fast.ops.prepared import prepared
from lic_fast.ops.quantize import (
    QuantizedLatents,
    dequantize,
    quantize,
    round_ste,
    scale_index,
    to_symbols,
)
from lic_fast.ops.window_attention import relative_position_index, window_attention

__all__ = [
    "Backend",
    "IntegerNetwork",
    "QuantizedLatents",
    "add_residual",
    "backend",
    "conv3x3",
    "current_backend",
    "dequantize",
    "exact_add_residual",
    "exact_layer_norm",
    "exact_quantize",
    "exact_sigmoid",
    "exact_window_attention",
    "feed_forward",
    "gdn",
    "integer_conv2d",
    "integer_layer",
    "prepared",
    "quantize",
    "relative_position_index",
    "round_ste",
    "scale_index",
    "to_symbols",
    "window_attention",
]
