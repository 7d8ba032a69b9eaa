"""Rules: what PyTorch's functions, and the models' modules, are in nodes of a graph."""

from __future__ import annotations

from lic_fast.engine.lowering import (  # noqa: F401
    convolutions,
    elementwise,
    norms,
    shapes,
)

__all__: list[str] = []
