"""Keys of a recipe: what values they take, and the errors for others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar

from lic_fast.errors import RecipeError

__all__ = [
    "choice",
    "integer",
    "integers",
    "number",
    "numbers",
    "read_section",
    "switch",
    "words",
]

Section = TypeVar("Section")
Check = Callable[[Any], Any]
"""Returns the value as it is kept; raises a ValueError that says what it must be."""


def _key(check: Check, default: Any) -> Any:
    if default is MISSING:
        return field(metadata={"check": check})
    return field(default=default, metadata={"check": check})


def _bounds(least: float | None, above: float | None, most: float | None) -> str:
    parts = []
    if least is not None:
        parts.append(f"at least {least:g}")
    if above is not None:
        parts.append(f"above {above:g}")
    if most is not None:
        parts.append(f"at most {most:g}")
    return " ".join(["", " and ".join(parts)]) if parts else ""


def number(
    default: Any = MISSING,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> Any:
    """A finite number within bounds, kept as float."""

    def check(value: Any) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or _outside(value, least, above, most):
            raise ValueError(f"a number{_bounds(least, above, most)}")
        return float(value)

    return _key(check, default)


def integer(default: Any = MISSING, *, least: int | None = None, most: int | None = None) -> Any:
    """A whole number within bounds."""

    def check(value: Any) -> int:
        good = isinstance(value, int) and not isinstance(value, bool)
        if not good or _outside(value, least, None, most):
            raise ValueError(f"a whole number{_bounds(least, None, most)}")
        return int(value)

    return _key(check, default)


def integers(*values: int, default: int) -> Any:
    """One of some whole numbers."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value not in values:
            raise ValueError(" or ".join(map(str, values)))
        return value

    return _key(check, default)


def _outside(value: float, least: float | None, above: float | None, most: float | None) -> bool:
    return (
        (least is not None and value < least)
        or (above is not None and value <= above)
        or (most is not None and value > most)
    )


def words() -> Any:
    """A list of strings, none by default, kept as a tuple."""

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise ValueError("a list of strings")
        return tuple(value)

    return _key(check, ())


def numbers(default: tuple[float, ...], *, above: float, below: float) -> Any:
    """An ascending list of numbers between two bounds, kept as a tuple."""

    def check(value: Any) -> tuple[float, ...]:
        what = f"an ascending list of numbers above {above:g} and below {below:g}"
        if not isinstance(value, list | tuple):
            raise ValueError(what)
        last = above
        for entry in value:
            if isinstance(entry, bool) or not isinstance(entry, int | float):
                raise ValueError(what)
            if not last < entry < below:
                raise ValueError(what)
            last = entry
        return tuple(float(entry) for entry in value)

    return _key(check, default)


def switch(default: bool) -> Any:
    """True or false."""

    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value

    return _key(check, default)


def choice(*values: str, default: Any = MISSING) -> Any:
    """One of some words."""

    def check(value: Any) -> str:
        if value not in values or not isinstance(value, str):
            raise ValueError(" or ".join(f'"{v}"' for v in values))
        return value

    return _key(check, default)


def _name(key: Field[Any]) -> str:
    """A key as it stands in the file: `lambda_` is a word that Python keeps to itself."""
    return key.name.removesuffix("_")


def read_section(kind: type[Section], name: str, values: Any, source: str) -> Section:
    """A dataclass of such keys from a table of a TOML file.

    Args:
        kind: The dataclass.
        name: The table's name.
        values: What stands under it.
        source: The file, for messages.

    Raises:
        RecipeError: It is no table, or a key is unknown, missing or has an impossible value.
    """
    if not isinstance(values, Mapping):
        raise RecipeError(f"{source}: {name} must be a table, [{name}]")
    keys = {_name(key): key for key in fields(kind)}  # type: ignore[arg-type]
    unknown = [key for key in values if key not in keys]
    if unknown:
        raise RecipeError(
            f"{source}: [{name}] has no {unknown[0]!r}; its keys are {', '.join(keys)}"
        )
    found = {}
    for key, declared in keys.items():
        if key not in values:
            if declared.default is MISSING:
                raise RecipeError(f"{source}: [{name}] {key} is missing")
            continue
        try:
            found[declared.name] = declared.metadata["check"](values[key])
        except ValueError as expected:
            raise RecipeError(
                f"{source}: [{name}] {key} must be {expected}, not {values[key]!r}"
            ) from None
    return kind(**found)


def table_of(section: Any) -> dict[str, Any]:
    """The inverse of :func:`read_section`."""
    return {_name(key): getattr(section, key.name) for key in fields(section)}
