"""Names of state-dict entries, from the form a checkpoint has to the model's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from compressai.entropy_models import EntropyModel
from torch import Tensor, nn

from lic_fast.ops import relative_position_index

__all__ = ["INTEGERS", "TABLES", "normalize_state_dict", "with_derived_buffers"]

_WRAPPERS = ("module.", "_orig_mod.")
_OLD_PRIOR = re.compile(r"(.*entropy_bottleneck\.)_(matrix|bias|factor)(\d+)")
_NEW_PRIOR = {"matrix": "matrices", "bias": "biases", "factor": "factors"}
_INDEX = "relative_position_index"
TABLES = ("_offset", "_quantized_cdf", "_cdf_length", "scale_table")
"""Ends of the names of CDF tables and what goes with them."""
INTEGERS = (*TABLES[:3], _INDEX)
"""Ends of the names of integer entries."""


def normalize_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Drops wrappers' prefixes and renames the factorised prior's entries.

    ``module.`` is DataParallel's prefix, ``_orig_mod.`` torch.compile's. The
    factorised prior's ``_matrix0`` of old CompressAI became ``matrices.0``.
    """
    entries = {}
    for name, value in state_dict.items():
        while name.startswith(_WRAPPERS):
            name = name.split(".", 1)[1]
        old = _OLD_PRIOR.fullmatch(name)
        if old:
            name = f"{old[1]}{_NEW_PRIOR[old[2]]}.{old[3]}"
        entries[name] = value
    return entries


def with_derived_buffers(entries: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Adds the buffers that files may leave out: CDF tables, emptied, and index tables."""
    complete = dict(entries)
    for name, module in model.named_modules():
        for buffer_name, buffer in module.named_buffers(recurse=False):
            full_name = f"{name}.{buffer_name}"
            if full_name in complete:
                continue
            if isinstance(module, EntropyModel) and buffer_name in TABLES:
                dtype = torch.float32 if buffer_name == "scale_table" else torch.int32
                complete[full_name] = torch.empty(0, dtype=dtype)
            elif buffer_name == _INDEX:
                side = round(buffer.shape[0] ** 0.5)
                complete[full_name] = relative_position_index(side)
    return complete
