"""Names of a package that are imported on first use, and what is said where torch is missing.

Torch and CompressAI take seconds to import, and gigabytes to install; what does not need them,
such as ``lic-fast info``, does without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from lic_fast.errors import MissingTorchError

__all__ = ["lazy_names", "torch_needed"]

_WITH_TORCH = {"compressai", "pytorch_msssim", "torch", "torchvision", "triton"}


def lazy_names(
    package: str, modules: Mapping[str, str | None]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for a package's ``__init__``.

    Args:
        package: Its name.
        modules: For each public name the module, below the package, that
            defines it; None for a module of the package itself.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = modules[name]
        with torch_needed(f"{package}.{name}"):
            if module is None:
                return import_module(f"{package}.{name}")
            return getattr(import_module(f"{package}.{module}"), name)

    return get, lambda: sorted(modules)


@contextmanager
def torch_needed(what: str) -> Iterator[None]:
    """Says in one line, of imports within, that `what` needs torch where that is not installed.

    Of several around an import the outermost says it.

    Raises:
        MissingTorchError: torch, or a package that is installed with it, cannot be found.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _WITH_TORCH:
            raise
        raise MissingTorchError(
            f"{what} needs {package}, which is not installed: `pip install lic_fast`, without "
            "--no-deps, installs it",
            name=error.name,
        ) from error
