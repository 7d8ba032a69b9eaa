"""How symbols became bytes: the two stream layouts of ``docs/format.md``."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["StreamLayout"]


class StreamLayout(IntEnum):
    """A stream layout, by its number in a ``.lic`` file."""

    COMPRESSAI = 0
    """The bytes of ``compressai.ans``: see :mod:`lic_fast.ans`."""

    LANES = 1
    """Interleaved states, for vector instructions and threads: see :mod:`lic_fast.rans`."""

    @classmethod
    def of(cls, value: StreamLayout | str) -> StreamLayout:
        """The layout, given it or its name in any case.

        Raises:
            ValueError: There is no such layout.
        """
        if isinstance(value, cls):
            return value
        try:
            return cls[str(value).upper()]
        except KeyError:
            names = ", ".join(layout.name.lower() for layout in cls)
            raise ValueError(f"there is no stream layout {value!r}; there are {names}") from None
