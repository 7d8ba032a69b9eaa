"""STF, WACNN and TCM: one definition each, readable beside the paper's figure."""

from lic_fast.lazy import torch_needed

with torch_needed("lic_fast.models"):
    from lic_fast.models.base import SliceCompressionModel
    from lic_fast.models.checkpoint import MODELS, load
    from lic_fast.models.originals import accelerate
    from lic_fast.models.stf import SymmetricalTransFormer
    from lic_fast.models.tcm import TCM
    from lic_fast.models.wacnn import WACNN

__all__ = [
    "MODELS",
    "TCM",
    "WACNN",
    "SliceCompressionModel",
    "SymmetricalTransFormer",
    "accelerate",
    "load",
]
