"""Operators, one per file: the plain PyTorch definition that every fast path is held to."""

from lic_fast.ops.backend import Backend, backend, current_backend
from lic_fast.ops.quantize import round_ste, scale_index
from lic_fast.ops.window_attention import relative_position_index, window_attention

__all__ = [
    "Backend",
    "backend",
    "current_backend",
    "relative_position_index",
    "round_ste",
    "scale_index",
    "window_attention",
]
