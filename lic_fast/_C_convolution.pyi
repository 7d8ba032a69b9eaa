"""A part of the stubs of `lic_fast._C`; there is no such module."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Float32: TypeAlias = npt.NDArray[np.float32]

class DirectConvolution:
    def __init__(self, weights: _Float32, bias: _Float32) -> None: ...
    def run(
        self,
        x: npt.NDArray[Any],
        out: npt.NDArray[Any],
        *,
        residual: npt.NDArray[Any] | None = None,
        activation: str = "none",
        stride: int = 1,
        padding: int = 0,
        shuffle: int = 1,
        threads: int = 1,
        isa: str | None = None,
        rows_begin: int = 0,
        rows_end: int | None = None,
    ) -> None: ...

class TileConvolution:
    def __init__(self, weights: _Float32, bias: _Float32) -> None: ...
    def run(
        self,
        x: npt.NDArray[Any],
        out: npt.NDArray[Any],
        *,
        residual: npt.NDArray[Any] | None = None,
        activation: str = "none",
        stride: int = 1,
        shuffle: int = 1,
        threads: int = 1,
        rows_begin: int = 0,
        rows_end: int | None = None,
    ) -> None: ...

class Winograd:
    def __init__(
        self, weights: _Float32, transformed: bool, threads: int, words: bool = False
    ) -> None: ...
    def run(
        self,
        x: npt.NDArray[Any],
        bias: _Float32,
        out: npt.NDArray[Any],
        *,
        residual: npt.NDArray[Any] | None = None,
        activation: str = "none",
        phases: int = 1,
        shuffle: int = 1,
        threads: int = 1,
        isa: str | None = None,
        rows_begin: int = 0,
        rows_end: int | None = None,
    ) -> None: ...
