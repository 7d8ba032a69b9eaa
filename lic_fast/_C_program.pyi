"""A part of the stubs of `lic_fast._C`; there is no such module."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

_Float32: TypeAlias = npt.NDArray[np.float32]
_Uint8: TypeAlias = npt.NDArray[np.uint8]
_Given: TypeAlias = _Float32 | _Uint8 | tuple[int, int, Callable[[int, _Uint8], object]]
_Norm: TypeAlias = tuple[_Float32, _Float32, float]
_Activation: TypeAlias = Literal["none", "relu", "leaky_relu", "gelu"]
_Unary: TypeAlias = Literal[
    "relu",
    "leaky_relu",
    "gelu",
    "sigmoid",
    "tanh",
    "exp",
    "square",
    "sqrt",
    "abs",
    "negate",
    "scale",
    "shift",
]
_Binary: TypeAlias = Literal["add", "multiply", "divide", "subtract", "maximum", "minimum"]

class Program:
    def run(
        self,
        inputs: Sequence[_Given],
        outputs: Sequence[_Given],
        threads: int,
        band_rows: int = 0,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> bool: ...
    def output_sizes(self, height: int, width: int) -> list[tuple[int, int]]: ...
    def describe(self, height: int, width: int) -> list[tuple[str, str, tuple[int, int, int]]]: ...
    def memory(self, height: int, width: int, threads: int, band_rows: int = 0) -> int: ...

class ProgramBuilder:
    def __init__(self, bfloat16: bool, compact: bool = False) -> None: ...
    def input(self, channels: int) -> int: ...
    def pixels(self) -> int: ...
    def conv2d(
        self,
        x: int,
        weight: _Float32,
        bias: _Float32 | None = None,
        stride: int = 1,
        padding: int = 0,
        activation: _Activation = "none",
        residual: int | None = None,
        shuffle: int = 1,
    ) -> int: ...
    def linear(
        self,
        x: int,
        weight: _Float32,
        bias: _Float32 | None = None,
        activation: _Activation = "none",
        residual: int | None = None,
        norm: _Norm | None = None,
    ) -> int: ...
    def feed_forward(
        self,
        x: int,
        norm: _Norm | None,
        w1: _Float32,
        b1: _Float32 | None,
        activation: _Activation,
        w2: _Float32,
        b2: _Float32 | None,
        residual: int | None = None,
    ) -> int: ...
    def gdn(self, x: int, gamma: _Float32, beta: _Float32, inverse: bool) -> int: ...
    def window_attention(
        self,
        qkv: int,
        table: _Float32,
        pad_value: _Float32 | None,
        window: int,
        shift: int,
        scale: float,
        mask_value: float,
    ) -> int: ...
    def layer_norm(self, x: int, weight: _Float32, bias: _Float32, epsilon: float) -> int: ...
    def unary(self, x: int, kind: _Unary, number: float = 0.0) -> int: ...
    def binary(self, x: int, y: int, kind: _Binary, number: float = 1.0) -> int: ...
    def gate(self, values: int, logits: int, skip: int) -> int: ...
    def space_to_depth(
        self, x: int, r: int, order: Literal["rows_first", "columns_first"] = "rows_first"
    ) -> int: ...
    def depth_to_space(self, x: int, r: int) -> int: ...
    def split(self, x: int, first: int, count: int) -> int: ...
    def concat(self, parts: Sequence[int]) -> int: ...
    def build(self, outputs: Sequence[int], pixels: bool = False) -> Program: ...
