"""Training: recipes, pictures on disk, the loop, checkpoints and what a run leaves behind.

:func:`train` runs a :class:`Job`. It needs the packages of the extra ``train``
(``pip install 'lic_fast[train]'``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lic_fast.lazy import lazy_names

if TYPE_CHECKING:
    from lic_fast.training.job import Job, Outcome, Reporter
    from lic_fast.training.loop import train
    from lic_fast.training.recipe import Recipe, read_recipe

__all__ = ["Job", "Outcome", "Recipe", "Reporter", "read_recipe", "train"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Job": "job",
        "Outcome": "job",
        "Recipe": "recipe",
        "Reporter": "job",
        "read_recipe": "recipe",
        "train": "loop",
    },
)
