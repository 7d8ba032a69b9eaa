"""Parts of the transforms on bands of rows, for large pictures' widest maps never to be whole."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from lic_fast.models.modules import Sequential
from lic_fast.ops.bands import in_bands, rows_of_band
from lic_fast.ops.dispatch import inference, untrained
from lic_fast.ops.plain import plain_network

__all__ = ["BandedSequential", "banded"]


def banded(
    owner: nn.Module,
    layers: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    halo: int,
    width: int,
    scale: int | Fraction = 1,
    align: int = 1,
) -> Tensor:
    """``layers(x)``, in bands where the backend is the fast one and the map is large.

    Args:
        owner: The module that `layers` belongs to. Where it is not plain and unwatched throughout
            there are no bands: maps would come in pieces, and other modules may see further.
        layers: See :func:`lic_fast.ops.bands.in_bands`, as for the rest.
        x: (B, N, H, W).
        halo: See there.
        width: See there.
        scale: See there.
        align: See there. Where H is no multiple of the rows that a row of the result takes,
            there are no bands.
    """
    if not inference(x):
        return layers(x)
    # Most maps are small, and to look through a module's modules takes a while.
    if rows_of_band(x, halo=halo, width=width, align=align, wide=True) >= x.shape[2]:
        return layers(x)
    if not untrained(owner) or not plain_network(owner):
        return layers(x)
    if (scale * x.shape[2]) % 1 != 0:
        return layers(x)
    return in_bands(layers, x, halo=halo, scale=scale, width=width, align=align, wide=True)


class BandedSequential(Sequential):
    """A :class:`Sequential` of which some layers run in bands.

    Args:
        layers: See :class:`torch.nn.Sequential`.
        first: Index of the first of those layers; without it there are none.
        last: Index of the last.
        halo: See :func:`banded`, as for the rest.
        scale: See there.
        align: See there.
        widest: Elements of the widest map between those layers for each pixel of their input.
    """

    def __init__(
        self,
        *layers: Any,
        first: int | None = None,
        last: int = -1,
        halo: int = 0,
        scale: int | Fraction = 1,
        align: int = 1,
        widest: int = 0,
    ) -> None:
        super().__init__(*layers)
        self._first, self._last = first, last
        self._count = len(layers)
        self._bands: dict[str, Any] = {"halo": halo, "scale": scale, "align": align}
        self._widest = widest

    def forward(
        self, x: Tensor, residual: Tensor | None = None, last: nn.Module | None = None
    ) -> Tensor:
        """See :class:`Sequential`."""
        banded_as_built = self._first is not None and len(self) == self._count
        if not banded_as_built or residual is not None or last is not None:
            return super().forward(x, residual, last)
        layers = list(self)
        before, run, after = (
            Sequential(*layers[part])
            for part in (
                slice(self._first),
                slice(self._first, self._last + 1),
                slice(self._last + 1, None),
            )
        )
        x = before(x)
        x = banded(self, run, x, width=self._widest * x.shape[3], **self._bands)
        return after(x)
