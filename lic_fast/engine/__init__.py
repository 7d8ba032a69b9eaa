"""The engine: runs networks of plain modules as programs.

A network is captured as a graph (:mod:`~lic_fast.engine.capture`), which rewrites make smaller
(:mod:`~lic_fast.engine.rewrites`), and the graph becomes a program of ``csrc/program`` on the CPU
(:mod:`~lic_fast.engine.program`), or runs by operators on a GPU
(:mod:`~lic_fast.engine.by_operators`). :func:`run` decides at each call, once for the network,
whether that may stand for its modules.
"""

from __future__ import annotations

from lic_fast.engine.capture import Function
from lic_fast.engine.explain import Explanation, explain
from lic_fast.engine.registry import lowers, traces
from lic_fast.engine.run import run, run_networks, why_modules
from lic_fast.engine.unsupported import Unsupported
from lic_fast.engine.values import Value

__all__ = [
    "Explanation",
    "Function",
    "Unsupported",
    "Value",
    "explain",
    "lowers",
    "run",
    "run_networks",
    "traces",
    "why_modules",
]
