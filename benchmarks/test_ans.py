"""lic_fast.ans beside compressai.ans: 590,000 symbols, the latents of a 768x512 picture.

Symbols are drawn from 64 Gaussian tables, whose numbers are uniform (about 4.6 bits a symbol) or
skewed towards small scales, as in a well-compressed picture (about 0.4). "list" is what
CompressAI's entropy models pass, "array" what lic_fast's pass: an int16 array of symbols, a
uint8 array of indexes and prepared tables. compressai.ans takes lists only, so its "array" has
the conversions of both in it.
"""

from __future__ import annotations

import math

import compressai.ans
import numpy as np
import pytest
import torch
from compressai.entropy_models import GaussianConditional

from lic_fast import ans

SYMBOLS = 590_000
SCALES = torch.exp(torch.linspace(math.log(0.11), math.log(256), 64))
CODERS = ["lic_fast", "compressai"]


class Case:
    """A message, its tables and its stream."""

    def __init__(self, distribution: str) -> None:
        model = GaussianConditional(None)
        model.update_scale_table(SCALES)
        self.lists = (
            model.quantized_cdf.tolist(),
            model.cdf_length.tolist(),
            model.offset.tolist(),
        )
        self.tables = ans.CdfTables(*self.lists)
        rng = np.random.default_rng(0)
        if distribution == "uniform":
            indexes = rng.integers(0, 64, SYMBOLS)
        else:
            indexes = np.minimum(rng.geometric(0.15, SYMBOLS) - 1, 63)
        self.indexes = indexes.astype(np.uint8)
        self.symbols = np.rint(rng.normal(0, SCALES.numpy()[indexes])).astype(np.int16)
        self.symbol_list, self.index_list = self.symbols.tolist(), self.indexes.tolist()
        self.stream = ans.RansEncoder().encode_with_indexes(self.symbols, self.indexes, self.tables)


@pytest.fixture(scope="module", params=["uniform", "skewed"])
def case(request):
    return Case(request.param)


def describe(benchmark, case, what, form):
    benchmark.group = f"{what}, {form}"
    benchmark.extra_info["symbols"] = SYMBOLS
    benchmark.extra_info["bits_per_symbol"] = 8 * len(case.stream) / SYMBOLS


@pytest.mark.parametrize("form", ["list", "array"])
@pytest.mark.parametrize("coder", CODERS)
def test_encode(benchmark, case, coder, form):
    describe(benchmark, case, "encode", form)
    if form == "list":
        encoder = (ans if coder == "lic_fast" else compressai.ans).RansEncoder()
        stream = benchmark(
            encoder.encode_with_indexes, case.symbol_list, case.index_list, *case.lists
        )
    elif coder == "lic_fast":
        stream = benchmark(
            ans.RansEncoder().encode_with_indexes, case.symbols, case.indexes, case.tables
        )
    else:
        stream = benchmark(
            lambda: compressai.ans.RansEncoder().encode_with_indexes(
                case.symbols.tolist(), case.indexes.tolist(), *case.lists
            )
        )
    assert stream == case.stream


@pytest.mark.parametrize("form", ["list", "array"])
@pytest.mark.parametrize("coder", CODERS)
def test_decode(benchmark, case, coder, form):
    describe(benchmark, case, "decode", form)
    if form == "list":
        decoder = (ans if coder == "lic_fast" else compressai.ans).RansDecoder()
        symbols = benchmark(decoder.decode_with_indexes, case.stream, case.index_list, *case.lists)
    elif coder == "lic_fast":
        symbols = benchmark(
            ans.RansDecoder().decode_with_indexes, case.stream, case.indexes, case.tables
        )
    else:
        symbols = benchmark(
            lambda: np.array(
                compressai.ans.RansDecoder().decode_with_indexes(
                    case.stream, case.indexes.tolist(), *case.lists
                ),
                dtype=np.int32,
            )
        )
    np.testing.assert_array_equal(symbols, case.symbols)


@pytest.mark.parametrize("form", ["list", "array"])
def test_prepare_tables(benchmark, case, form):
    benchmark.group = f"prepare 64 tables, {form}"
    arguments = case.lists if form == "list" else case.tables.arrays()
    assert len(benchmark(ans.CdfTables, *arguments)) == 64
