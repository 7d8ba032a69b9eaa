"""lic_fast.rans beside lic_fast.ans, compressai.ans and constriction.

590,000 symbols are the latents of a 768x512 picture, 9,000,000 those of 12 megapixels. "trained":
indexes as a trained model has them, most scales small, 0.3 bit per pixel; "uniform": each scale
as often as another, 7 bits per pixel. Symbols are drawn from the tables, so that the rate is
ideal. Each coder gets what it takes: arrays, for compressai.ans lists; constriction has no tables
of a caller's own per symbol, and gets the Gaussian that each symbol's table was made of.

`make bench-rans` runs this and writes benchmarks/results/rans.md.
"""

from __future__ import annotations

import math

import compressai.ans
import numpy as np
import pytest
import torch
from compressai.entropy_models import GaussianConditional

from lic_fast import ans, rans

SCALES = torch.exp(torch.linspace(math.log(0.11), math.log(256), 64))
STEPS = 7  # those of STF
THREADS = torch.get_num_threads()


class Case:
    """A message, its tables, and what coders of lists take instead."""

    def __init__(self, distribution: str, size: int) -> None:
        model = GaussianConditional(None)
        model.update_scale_table(SCALES)
        arrays = model.quantized_cdf.numpy(), model.cdf_length.numpy(), model.offset.numpy()
        self.tables = ans.CdfTables(*arrays)
        self.table_lists = tuple(array.tolist() for array in arrays)
        rng = np.random.default_rng(0)
        if distribution == "uniform":
            indexes = rng.integers(0, 64, size)
        else:
            skew = np.where(rng.random(size) < 0.27, 0.12, 0.36)
            indexes = np.minimum(rng.geometric(skew) - 1, 63)
        self.indexes = indexes.astype(np.uint8)
        self.symbols = np.empty(size, np.int16)
        self.bits = 0.0
        for i, (cdf, length, offset) in enumerate(zip(*arrays, strict=True)):
            here = indexes == i
            slots = rng.integers(0, 65536, here.sum())
            # The last interval is the escape.
            s = np.minimum(np.searchsorted(cdf[:length], slots, side="right") - 1, length - 3)
            self.symbols[here] = s + offset
            self.bits -= np.log2(np.diff(cdf[:length])[s] / 65536).sum()
        self.steps = [
            (symbols.copy(), chosen.copy())
            for symbols, chosen in zip(
                np.array_split(self.symbols, STEPS),
                np.array_split(self.indexes, STEPS),
                strict=True,
            )
        ]


CASES: dict[tuple[str, int], Case] = {}


@pytest.fixture(
    params=[(d, n) for n in (590_000, 9_000_000) for d in ("trained", "uniform")],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def case(request, benchmark):
    if request.param not in CASES:
        CASES.clear()
        CASES[request.param] = Case(*request.param)
    chosen = CASES[request.param]
    benchmark.extra_info["distribution"], benchmark.extra_info["size"] = request.param
    benchmark.extra_info["ideal_bytes"] = chosen.bits / 8
    return chosen


def run(benchmark, case, operation, coder, work, stream_bytes):
    benchmark.group = f"{operation}, {benchmark.extra_info['distribution']}, {case.symbols.size}"
    benchmark.extra_info.update(operation=operation, coder=coder, stream_bytes=stream_bytes)
    slow = case.symbols.size > 1_000_000
    return benchmark.pedantic(work, rounds=5 if slow else 30, warmup_rounds=1)


RANS = [(isa, 1, 1) for isa in rans.instruction_sets()] + [
    (rans.instruction_sets()[-1], 1, STEPS),
    (rans.instruction_sets()[-1], THREADS, 1),
    (rans.instruction_sets()[-1], THREADS, STEPS),
]


def rans_name(isa, threads, steps):
    return f"lic_fast.rans, {isa}, {threads} thread{'s' * (threads > 1)}" + (
        f", {steps} steps" if steps > 1 else ""
    )


@pytest.mark.parametrize(("isa", "threads", "steps"), RANS)
def test_rans(benchmark, case, operation, isa, threads, steps):
    # One thread decodes what a file has by default; several need as many substreams.
    substreams = None if threads == 1 or case.symbols.size > 1_000_000 else threads
    message = case.steps if steps > 1 else [(case.symbols, case.indexes)]
    encoder = rans.Encoder(case.tables, isa=isa, threads=threads, substreams=substreams)
    decoder = rans.Decoder(case.tables, isa=isa, threads=threads)
    stream = encoder.encode(message)
    outs = [np.empty_like(symbols) for symbols, _ in message]

    def decode():
        decoder.start(stream)
        for (_, indexes), out in zip(message, outs, strict=True):
            decoder.decode(indexes, out=out)
        decoder.finish()

    work = decode if operation == "decode" else lambda: encoder.encode(message)
    run(benchmark, case, operation, rans_name(isa, threads, steps), work, len(stream))
    decode()
    np.testing.assert_array_equal(np.concatenate(outs), case.symbols)


def test_ans(benchmark, case, operation):
    encoder, decoder = ans.RansEncoder(), ans.RansDecoder()
    stream = encoder.encode_with_indexes(case.symbols, case.indexes, case.tables)
    work = {
        "encode": lambda: encoder.encode_with_indexes(case.symbols, case.indexes, case.tables),
        "decode": lambda: decoder.decode_with_indexes(stream, case.indexes, case.tables),
    }[operation]
    run(benchmark, case, operation, "lic_fast.ans, arrays", work, len(stream))


def test_compressai(benchmark, case, operation):
    encoder, decoder = compressai.ans.RansEncoder(), compressai.ans.RansDecoder()
    symbols, indexes = case.symbols.tolist(), case.indexes.tolist()
    stream = encoder.encode_with_indexes(symbols, indexes, *case.table_lists)
    work = {
        "encode": lambda: encoder.encode_with_indexes(symbols, indexes, *case.table_lists),
        "decode": lambda: decoder.decode_with_indexes(stream, indexes, *case.table_lists),
    }[operation]
    run(benchmark, case, operation, "compressai.ans, lists", work, len(stream))


def test_constriction(benchmark, case, operation):
    stream_module = pytest.importorskip("constriction").stream
    model = stream_module.model.QuantizedGaussian(-2000, 2000)
    scales = SCALES.double().numpy()[case.indexes]
    means = np.zeros_like(scales)
    symbols = case.symbols.astype(np.int32)

    def encode():
        coder = stream_module.stack.AnsCoder()
        coder.encode_reverse(symbols, model, means, scales)
        return coder.get_compressed()

    words = encode()
    work = {
        "encode": encode,
        "decode": lambda: stream_module.stack.AnsCoder(words).decode(model, means, scales),
    }[operation]
    run(benchmark, case, operation, "constriction, arrays", work, words.nbytes)


@pytest.fixture(params=["encode", "decode"])
def operation(request):
    return request.param
