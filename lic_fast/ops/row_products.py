"""Linear maps of rows of channels on the CPU, with what stands before and behind them.

``csrc/linear`` computes a few rows from the norm or the squares in front to the residual and the
activation behind, and a feed-forward half from norm to residual, so that what lies between stays
in the nearest caches. For channels by the dozen that is half of the time that oneDNN's matrix
products and single passes take (``benchmarks/results/layers.md``).

Maps of bfloat16 are multiplied by tiles of AMX, with sums in float32, where the processor has
them: so cheap are products then that norms, activations and memory are most of the time. Else they
are multiplied as pairs, with such sums, where the processor does so at twice the rate of float32.
Else they are multiplied as words of 16 bits, with sums of integers, where it multiplies those
faster than float32 (AVX2, AVX512-VNNI): over a scale for each row and one for each output a word
has 11 bits and more, and its rounding disappears in that of the maps. Of a row with an infinity,
tiles and pairs may make NaNs where the definition has infinities.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.onednn import Activation
from lic_fast.ops.prepared import prepared, present
from lic_fast.ops.rows import array, rows_of
from lic_fast.ops.threads import threads
from lic_fast.ops.winograd import wide_vectors

__all__ = ["Linear", "Norm", "Products", "onednn_products", "packed", "products_for", "usable"]

Norm = tuple[Tensor, Tensor, float]
"""A layer norm's weight and bias, (C,), and epsilon."""

Products = Literal["floats", "pairs", "words", "tiles"]
"""How numbers are multiplied: as float32, pairs of bfloat16, words of 16 bits or tiles of AMX."""


_onednn: ContextVar[bool] = ContextVar("lic_fast_onednn_products", default=False)


@contextmanager
def onednn_products() -> Iterator[None]:
    """Within the block :func:`usable` holds for nothing."""
    token = _onednn.set(True)
    try:
        yield
    finally:
        _onednn.reset(token)


def usable(x: Tensor) -> bool:
    """Whether maps of `x`, on the CPU, are computed here, and not by oneDNN."""
    if x.numel() == 0 or _onednn.get():
        return False
    return x.dtype in (torch.float32, torch.bfloat16) and wide_vectors()


class Linear:
    """A linear map with its weights packed.

    Args:
        weight: (M, N).
        bias: (M,) or None.
        products: See :func:`products_for`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, products: Products) -> None:
        self._outputs = len(weight)
        offsets = torch.zeros(len(weight)) if bias is None else bias.detach().float()
        self._packed = _C.Linear(
            weight.detach().float().contiguous().numpy(), offsets.contiguous().numpy(), products
        )

    def __call__(
        self,
        x: Tensor,
        activation: Activation = "none",
        residual: Tensor | None = None,
        norm: Norm | None = None,
        second: Linear | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """``activation(map(norm(x)) + residual)``, or of ``second(activation(map(norm(x))))``.

        Args:
            x: (..., N).
            activation: See :func:`lic_fast.ops.linear`.
            residual: Of the result's shape, or None.
            norm: A layer norm before it, or None.
            second: A map of what the activation gives; then the residual is added to its result.
            out: Where the result goes, its channels side by side and its pixels evenly apart.
        """
        outputs = self._outputs if second is None else second._outputs
        if out is None:
            out = torch.empty((*x.shape[:-1], outputs), dtype=x.dtype)
        rows, parameters, eps = _rows_into(out), None, 0.0
        if norm is not None:
            weight, bias, eps = norm
            parameters = _floats(weight), _floats(bias)
        self._packed.run(
            array(rows_of(x)),
            array(rows),
            second=None if second is None else second._packed,
            residual=None if residual is None else array(rows_of(residual)),
            norm=parameters,
            epsilon=eps,
            activation=activation,
            threads=threads(),
        )
        return out

    def normalise(self, x: Tensor, out: Tensor, inverse: bool) -> None:
        """X over, inverse: times the root of the map of its squares, to `out`, which may be x."""
        rows = array(rows_of(x))
        self._packed.run_gdn(rows, array(_rows_into(out)), inverse=inverse, threads=threads())


def products_for(dtype: torch.dtype) -> Products:
    """How linear maps of this type are multiplied here."""
    if dtype != torch.bfloat16:
        return "floats"
    if _C.multiplies_tiles():
        return "tiles"
    if _C.fast_pairs():
        return "pairs"
    return "words" if _C.multiplies_words() else "floats"


def packed(weight: Tensor, bias: Tensor | None, products: Products) -> Linear:
    """The map with its weights packed, made once."""
    return prepared(
        ("row products", products), present(weight, bias), lambda: Linear(weight, bias, products)
    )


def _floats(parameter: Tensor) -> Any:
    return parameter.detach().float().contiguous().numpy()


def _rows_into(out: Tensor) -> Tensor:
    """The same memory as (rows, C)."""
    return out.view(-1, out.shape[-1])
