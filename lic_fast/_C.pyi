from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch

# Not a module: these classes are of this one.
from lic_fast._C_convolution import DirectConvolution as DirectConvolution
from lic_fast._C_convolution import TileConvolution as TileConvolution
from lic_fast._C_convolution import Winograd as Winograd
from lic_fast._C_program import Program as Program
from lic_fast._C_program import ProgramBuilder as ProgramBuilder

_List: TypeAlias = Sequence[SupportsIndex]
_Array: TypeAlias = npt.NDArray[np.integer[Any]]
_Integers: TypeAlias = _List | _Array | torch.Tensor
_Matrix: TypeAlias = Sequence[_Integers] | _Array | torch.Tensor
_Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
_Int32: TypeAlias = npt.NDArray[np.int32]
_Out = TypeVar("_Out", _Int32, torch.Tensor)
_LanesOut = TypeVar("_LanesOut", _Int32, npt.NDArray[np.int16], torch.Tensor)

class CdfTables:
    def __init__(self, cdfs: _Matrix, cdfs_sizes: _Integers, offsets: _Integers) -> None: ...
    def __len__(self) -> int: ...
    def __copy__(self) -> CdfTables: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> CdfTables: ...
    def arrays(self) -> tuple[_Int32, _Int32, _Int32]: ...

class BufferedRansEncoder:
    def __init__(self) -> None: ...
    @overload
    def encode_with_indexes(
        self, symbols: _Integers, indexes: _Integers, cdfs: CdfTables
    ) -> None: ...
    @overload
    def encode_with_indexes(
        self,
        symbols: _Integers,
        indexes: _Integers,
        cdfs: _Matrix,
        cdfs_sizes: _Integers,
        offsets: _Integers,
    ) -> None: ...
    def flush(self) -> bytes: ...

class RansEncoder:
    def __init__(self) -> None: ...
    @overload
    def encode_with_indexes(
        self, symbols: _Integers, indexes: _Integers, cdfs: CdfTables
    ) -> bytes: ...
    @overload
    def encode_with_indexes(
        self,
        symbols: _Integers,
        indexes: _Integers,
        cdfs: _Matrix,
        cdfs_sizes: _Integers,
        offsets: _Integers,
    ) -> bytes: ...

class RansDecoder:
    def __init__(self) -> None: ...
    @overload
    def decode_with_indexes(
        self,
        encoded: _Bytes,
        indexes: _Integers,
        cdfs: CdfTables | _Matrix,
        cdfs_sizes: _Integers | None = None,
        offsets: _Integers | None = None,
        *,
        out: _Out,
    ) -> _Out: ...
    @overload
    def decode_with_indexes(
        self,
        encoded: _Bytes,
        indexes: _Array,
        cdfs: CdfTables | _Matrix,
        cdfs_sizes: _Integers | None = None,
        offsets: _Integers | None = None,
        *,
        out: None = None,
    ) -> _Int32: ...
    @overload
    def decode_with_indexes(
        self,
        encoded: _Bytes,
        indexes: torch.Tensor,
        cdfs: CdfTables | _Matrix,
        cdfs_sizes: _Integers | None = None,
        offsets: _Integers | None = None,
        *,
        out: None = None,
    ) -> torch.Tensor: ...
    @overload
    def decode_with_indexes(
        self,
        encoded: _Bytes,
        indexes: _List,
        cdfs: CdfTables | _Matrix,
        cdfs_sizes: _Integers | None = None,
        offsets: _Integers | None = None,
        *,
        out: None = None,
    ) -> list[int]: ...
    def set_stream(self, encoded: _Bytes) -> None: ...
    @overload
    def decode_stream(
        self,
        indexes: _Integers,
        cdfs: CdfTables | _Matrix,
        cdfs_sizes: _Integers | None = None,
        offsets: _Integers | None = None,
        *,
        out: _Out,
    ) -> _Out: ...
    @overload
    def decode_stream(
        self,
        indexes: _Array,
        cdfs: CdfTables | _Matrix,
        cdfs_sizes: _Integers | None = None,
        offsets: _Integers | None = None,
        *,
        out: None = None,
    ) -> _Int32: ...
    @overload
    def decode_stream(
        self,
        indexes: torch.Tensor,
        cdfs: CdfTables | _Matrix,
        cdfs_sizes: _Integers | None = None,
        offsets: _Integers | None = None,
        *,
        out: None = None,
    ) -> torch.Tensor: ...
    @overload
    def decode_stream(
        self,
        indexes: _List,
        cdfs: CdfTables | _Matrix,
        cdfs_sizes: _Integers | None = None,
        offsets: _Integers | None = None,
        *,
        out: None = None,
    ) -> list[int]: ...
    def finish(self) -> None: ...

def pmf_to_quantized_cdf(
    pmf: Sequence[float] | npt.NDArray[np.floating[Any]] | torch.Tensor, precision: int = 16
) -> list[int]: ...

class LanesEncoder:
    def __init__(
        self,
        tables: CdfTables,
        *,
        lanes: int | None = None,
        substreams: int | None = None,
        threads: int | None = None,
        isa: str | None = None,
    ) -> None: ...
    def encode(self, steps: Sequence[tuple[_Integers, _Integers]]) -> bytes: ...
    def encode_batch(
        self, messages: Sequence[Sequence[tuple[_Integers, _Integers]]]
    ) -> list[bytes]: ...

class LanesDecoder:
    def __init__(
        self, tables: CdfTables, *, threads: int | None = None, isa: str | None = None
    ) -> None: ...
    def start(self, stream: _Bytes) -> None: ...
    @overload
    def decode(self, indexes: _Integers, *, out: _LanesOut) -> _LanesOut: ...
    @overload
    def decode(self, indexes: _Array, *, out: None = None) -> _Int32: ...
    @overload
    def decode(self, indexes: torch.Tensor, *, out: None = None) -> torch.Tensor: ...
    @overload
    def decode(self, indexes: _List, *, out: None = None) -> list[int]: ...
    def finish(self) -> None: ...

def inspect_lanes(stream: _Bytes) -> tuple[int, list[int], list[int]]: ...
def instruction_sets() -> list[str]: ...

_Float32: TypeAlias = npt.NDArray[np.float32]
_Floating: TypeAlias = _Float32 | npt.NDArray[np.uint16]

def quantize(
    y: _Float32,
    mean: _Float32,
    scale: _Float32,
    scale_table: _Float32,
    symbols: npt.NDArray[np.int16] | _Int32,
    indexes: npt.NDArray[np.uint8],
    y_hat: _Float32,
    threads: int,
    isa: str | None = None,
) -> float: ...
def scale_index(
    scale: _Float32,
    scale_table: _Float32,
    indexes: npt.NDArray[np.uint8],
    threads: int,
    isa: str | None = None,
) -> None: ...
def dequantize(
    symbols: npt.NDArray[np.int16] | _Int32,
    mean: _Float32,
    y_hat: _Float32,
    threads: int,
    isa: str | None = None,
) -> None: ...
def window_attention(
    qkv: _Floating,
    bias_table: _Float32,
    pad_value: _Float32 | None,
    out: _Floating,
    window: int,
    shift: int,
    scale: float,
    mask_value: float,
    threads: int,
    isa: str | None = None,
    rows_begin: int = 0,
    rows_end: int | None = None,
) -> None: ...
def window_attention_backward(
    grad: _Floating,
    qkv: _Floating,
    bias_table: _Float32,
    pad_value: _Float32 | None,
    grad_qkv: _Floating,
    grad_bias_table: _Float32,
    grad_pad_value: _Float32 | None,
    window: int,
    shift: int,
    scale: float,
    mask_value: float,
    threads: int,
    isa: str | None = None,
) -> None: ...
def multiplies_words() -> bool: ...

class Snapshot:
    def __init__(self, modules: list[Any], dicts: list[Any], owned: type) -> None: ...
    def holds(self) -> bool: ...

class TensorStamp:
    def __init__(self, tensors: list[Any]) -> None: ...
    def holds(self) -> bool: ...

class Memory:
    def __init__(self, bytes: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def copy(source: npt.NDArray[Any], to: npt.NDArray[Any], threads: int) -> None: ...
def hash_of_samples(pieces: Sequence[tuple[int, int]]) -> int: ...
def has_pairs() -> bool: ...
def fast_pairs() -> bool: ...
def multiplies_tiles() -> bool: ...

class Linear:
    def __init__(
        self,
        weights: _Float32,
        bias: _Float32,
        products: Literal["floats", "pairs", "words", "tiles"] = "floats",
    ) -> None: ...
    def run(
        self,
        x: npt.NDArray[Any],
        out: npt.NDArray[Any],
        *,
        second: Linear | None = None,
        residual: npt.NDArray[Any] | None = None,
        norm: tuple[_Float32, _Float32] | None = None,
        epsilon: float = 0.0,
        activation: str = "none",
        threads: int = 1,
        isa: str | None = None,
    ) -> None: ...
    def run_gdn(
        self,
        x: npt.NDArray[Any],
        out: npt.NDArray[Any],
        *,
        inverse: bool,
        threads: int = 1,
        isa: str | None = None,
    ) -> None: ...

class IntegerWeights:
    def __init__(self, weights: npt.NDArray[np.int8], groups: int) -> None: ...
    @property
    def tile_sides(self) -> list[int]: ...

def integer_conv2d(
    weights: IntegerWeights,
    x: Sequence[npt.NDArray[np.uint8]],
    border: Sequence[npt.NDArray[np.uint8]],
    out: _Int32,
    stride: int,
    threads: int,
    isa: str | None = None,
) -> None: ...

class IntegerLayer:
    def __init__(
        self,
        weight: npt.NDArray[np.int8],
        bias: _Int32,
        scale: _Float32,
        border: Sequence[npt.NDArray[np.uint8]],
        stride: int,
        groups: int,
        activation: str,
        output: tuple[_Float32, _Int32, int] | None,
    ) -> None: ...
    @property
    def tile_sides(self) -> list[int]: ...
    def run(
        self,
        x: Sequence[npt.NDArray[np.uint8]],
        residual: _Float32 | None,
        threads: int,
        isa: str | None = None,
        out: _Float32 | Sequence[npt.NDArray[np.uint8]] | None = None,
    ) -> _Float32 | list[npt.NDArray[np.uint8]]: ...

class IntegerNetwork:
    def __init__(self, layers: Sequence[IntegerLayer]) -> None: ...
    def run(
        self,
        x: Sequence[npt.NDArray[np.uint8]],
        threads: int,
        isa: str | None = None,
        out: _Float32 | Sequence[npt.NDArray[np.uint8]] | None = None,
        residual: _Float32 | None = None,
    ) -> _Float32 | list[npt.NDArray[np.uint8]]: ...

class IntegerQuantizer:
    def __init__(self, inverse_step: _Float32, zero: _Int32, bits: int) -> None: ...

class LayersStep:
    def __init__(
        self,
        network: IntegerNetwork,
        x: int,
        residual: int | None,
        values: int | None,
        activations: int | None,
    ) -> None: ...

class QuantizeStep:
    def __init__(self, quantizer: IntegerQuantizer, x: int, activations: int) -> None: ...

class NormStep:
    def __init__(
        self,
        weight: _Float32,
        bias: _Float32,
        inverse_step: float,
        epsilon: float,
        quantizer: IntegerQuantizer,
        x: int,
        activations: int,
    ) -> None: ...

class AttentionStep:
    def __init__(
        self,
        inverse_step: _Float32,
        scale: _Float32,
        bias: _Float32,
        value_step: _Float32,
        window: int,
        shift: int,
        quantizer: IntegerQuantizer,
        x: int,
        activations: int,
    ) -> None: ...

class GateStep:
    def __init__(
        self, quantizer: IntegerQuantizer, x: int, gate: int, residual: int, activations: int
    ) -> None: ...

class ElementStep:
    def __init__(
        self,
        element: str,
        quantizer: IntegerQuantizer | None,
        x: int,
        y: int | None,
        values: int | None,
        activations: int | None,
    ) -> None: ...

class SubpixelStep:
    def __init__(
        self,
        phases: Sequence[IntegerNetwork],
        x: int,
        values: int | None,
        activations: int | None,
    ) -> None: ...

class IntegerProgram:
    def __init__(
        self,
        maps: Sequence[tuple[int, int, int, int | None, int]],
        steps: Sequence[
            LayersStep
            | SubpixelStep
            | QuantizeStep
            | NormStep
            | AttentionStep
            | GateStep
            | ElementStep
        ],
        inputs: Sequence[int],
        outputs: Sequence[int],
    ) -> None: ...

def run_integer_programs(
    calls: Sequence[
        tuple[
            IntegerProgram,
            Sequence[Sequence[npt.NDArray[Any]]],
            Sequence[Sequence[npt.NDArray[Any]]],
        ]
    ],
    threads: int,
    isa: str | None = None,
) -> None: ...
def exact_quantize(
    x: _Float32,
    inverse_step: _Float32,
    zero: _Int32,
    bits: int,
    out: Sequence[npt.NDArray[np.uint8]],
    threads: int,
    isa: str | None = None,
) -> None: ...
def exact_add_residual(
    quantized: _Float32,
    lrp: _Float32,
    out: _Float32,
    threads: int,
    isa: str | None = None,
) -> None: ...
def exact_layer_norm(
    x: _Float32,
    weight: _Float32,
    bias: _Float32,
    inverse_step: float,
    epsilon: float,
    out: _Float32,
    threads: int,
    isa: str | None = None,
) -> None: ...
def exact_sigmoid(x: _Float32, out: _Float32, threads: int, isa: str | None = None) -> None: ...
def exact_window_attention(
    qkv: _Float32,
    inverse_step: _Float32,
    scale: _Float32,
    bias: _Float32,
    value_step: _Float32,
    out: _Float32,
    window: int,
    shift: int,
    threads: int,
    isa: str | None = None,
) -> None: ...
