"""The public face of the coder: golden streams, and standing in for compressai.ans."""

from __future__ import annotations

import math

import compressai.ans
import numpy as np
import pytest
import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional

from lic_fast import ans
from tests.shared import shared_path

GOLDEN = ["stf_a", "stf_b", "wacnn_a", "wacnn_b", "tcm_n64_a", "tcm_n64_b"]


@pytest.fixture(scope="module")
def gaussian():
    model = GaussianConditional(None)
    model.update_scale_table(torch.exp(torch.linspace(math.log(0.11), math.log(256), 64)))
    return model


@pytest.fixture(scope="module")
def tables(gaussian):
    return ans.CdfTables(gaussian.quantized_cdf, gaussian.cdf_length, gaussian.offset)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_streams(name, gaussian, tables):
    golden = np.load(shared_path(f"upstream/golden/{name}.npz"))
    symbols, indexes, stream = golden["y_symbols"], golden["y_indexes"], golden["y_string"]
    assert ans.RansEncoder().encode_with_indexes(symbols, indexes, tables) == stream.tobytes()
    assert stream.tobytes() == ans.RansEncoder().encode_with_indexes(
        symbols.tolist(),
        indexes.tolist(),
        gaussian.quantized_cdf.tolist(),
        gaussian.cdf_length.tolist(),
        gaussian.offset.tolist(),
    )
    decoder = ans.RansDecoder()
    decoder.set_stream(stream)
    np.testing.assert_array_equal(decoder.decode_stream(indexes, tables), symbols)
    decoder.finish()


def test_what_compressai_exports_is_here():
    for name in vars(compressai.ans):
        if not name.startswith("_"):
            theirs, ours = getattr(compressai.ans, name), getattr(ans, name)
            public = {method for method in dir(theirs) if not method.startswith("_")}
            assert public <= set(dir(ours))
    assert set(ans.__all__) <= set(dir(ans))
    assert all(getattr(ans, name).__doc__ for name in ans.__all__)


class FastCoder:
    """What compressai's entropy models ask of their coder."""

    def encode_with_indexes(self, *arguments):
        return ans.RansEncoder().encode_with_indexes(*arguments)

    def decode_with_indexes(self, *arguments):
        return ans.RansDecoder().decode_with_indexes(*arguments)


def test_compressais_gaussian_conditional_on_this_coder(gaussian):
    torch.manual_seed(0)
    indexes = torch.randint(0, 64, (2, 3, 8, 8))
    inputs = torch.randn(2, 3, 8, 8) * gaussian.scale_table[indexes]
    expected = gaussian.compress(inputs, indexes)
    usual, gaussian.entropy_coder = gaussian.entropy_coder, FastCoder()
    try:
        assert gaussian.compress(inputs, indexes) == expected
        assert torch.equal(gaussian.decompress(expected, indexes), inputs.round())
    finally:
        gaussian.entropy_coder = usual


def test_compressais_entropy_bottleneck_on_this_coder():
    torch.manual_seed(1)
    bottleneck = EntropyBottleneck(6)
    bottleneck.update()
    inputs = torch.randn(1, 6, 4, 4) * 30  # far outside the tables now and then
    expected = bottleneck.compress(inputs)
    decoded = bottleneck.decompress(expected, (4, 4))
    bottleneck.entropy_coder = FastCoder()
    assert bottleneck.compress(inputs) == expected
    assert torch.equal(bottleneck.decompress(expected, (4, 4)), decoded)


def test_tables_of_compressai_are_what_pmf_to_quantized_cdf_makes(gaussian):
    scale = gaussian.scale_table[-1]
    size = int(gaussian.cdf_length[-1]) - 2
    values = torch.arange(size) - size // 2
    upper = gaussian._standardized_cumulative((0.5 - values.abs()) / scale)
    lower = gaussian._standardized_cumulative((-0.5 - values.abs()) / scale)
    pmf = torch.cat((upper - lower, 2 * lower[:1]))
    cdf = ans.pmf_to_quantized_cdf(pmf)
    assert cdf == gaussian.quantized_cdf[-1, : size + 2].tolist()
