"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cpuinfo
import torch

_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd")


def describe(device: str) -> dict[str, Any]:
    """The machine and the versions that matter, for a report."""
    cpu = cpuinfo.get_cpu_info()
    flags = set(cpu.get("flags", ()))
    return {
        "cpu": cpu.get("brand_raw", platform.processor()),
        "cpu_family": cpu.get("family"),
        "cpu_model": cpu.get("model"),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instruction_sets": [flag for flag in _FLAGS if flag in flags],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "lic_fast", "openvino")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
