"""Fast, portable learned image compression for PyTorch and CompressAI.

Drop-in :class:`~lic_fast.models.SymmetricalTransFormer` (STF),
:class:`~lic_fast.models.WACNN` and :class:`~lic_fast.models.TCM`, the entropy
coders :mod:`lic_fast.rans` and :mod:`lic_fast.ans`, and the codec :mod:`lic_fast.codec`
that turns picture files into ``.lic`` files and back.

Names are imported on first use, so that ``import lic_fast`` does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lic_fast.lazy import lazy_names

if TYPE_CHECKING:
    from lic_fast import ans, codec, engine, models, ops, rans, runtime, zoo
    from lic_fast.engine.explain import explain
    from lic_fast.models.checkpoint import load
    from lic_fast.models.originals import accelerate
    from lic_fast.models.portable.convert import make_portable
    from lic_fast.ops.backend import backend
    from lic_fast.ops.stamp import refresh
    from lic_fast.version import __version__

__all__ = [
    "__version__",
    "accelerate",
    "ans",
    "backend",
    "codec",
    "engine",
    "explain",
    "load",
    "make_portable",
    "models",
    "ops",
    "rans",
    "refresh",
    "runtime",
    "zoo",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "__version__": "version",
        "accelerate": "models.originals",
        "ans": None,
        "backend": "ops.backend",
        "codec": None,
        "engine": None,
        "explain": "engine.explain",
        "load": "models.checkpoint",
        "make_portable": "models.portable.convert",
        "models": None,
        "ops": None,
        "rans": None,
        "refresh": "ops.stamp",
        "runtime": None,
        "zoo": None,
    },
)
