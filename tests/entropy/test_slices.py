"""The slice schedule, the streams and the checksum."""

import zlib

import numpy as np
import pytest
import torch
from compressai.entropy_models import GaussianConditional
from compressai.models.base import get_scale_table
from torch import nn

from lic_fast import backend, engine
from lic_fast.ans import CdfTables
from lic_fast.entropy import SliceNetworks, run_slices, symbols_checksum
from lic_fast.entropy.coding import SliceDecoder, SliceEncoder
from lic_fast.errors import LatentError, StreamError
from lic_fast.models.layers import slice_networks
from lic_fast.runtime.coding import (
    decode_hyperlatent,
    encode_messages,
    hyperlatent_message,
    open_stream,
)
from lic_fast.stream_layout import StreamLayout

every_layout = pytest.mark.parametrize("layout", StreamLayout)


@pytest.fixture(scope="module")
def gaussian():
    model = GaussianConditional(None)
    model.update_scale_table(get_scale_table())
    tables = CdfTables(model.quantized_cdf.numpy(), model.cdf_length.numpy(), model.offset.numpy())
    return model.scale_table, tables


def networks(limit, seed=0):
    torch.manual_seed(seed)
    mean, scale, lrp = (kind.eval() for kind in slice_networks(6, 8, 4, limit, (5,)))
    return SliceNetworks(mean, scale, lrp, limit)


@pytest.mark.parametrize(
    ("limit", "widths"), [(2, [6, 8, 10, 10]), (-1, [6, 8, 10, 12]), (0, [6] * 4)]
)
def test_support_is_the_first_slices(limit, widths):
    nets = networks(limit)
    assert [net[0].in_channels for net in nets.mean] == widths
    assert [net[0].in_channels for net in nets.lrp] == [width + 2 for width in widths]
    hyper = torch.randn(1, 6, 3, 5)
    out = run_slices(nets, hyper, hyper, lambda i, mean, scale: mean)
    assert out.y_hat.shape == out.means.shape == out.scales.shape == (1, 8, 3, 5)


def test_slices_follow_the_equations():
    nets = networks(1)
    means, scales, y = (torch.randn(2, c, 3, 5) * 4 for c in (6, 6, 8))
    slices = y.chunk(4, 1)
    seen = []

    def quantize(channels, mean, scale):
        seen.append(channels)
        return (y[:, channels] - mean).round() + mean

    with backend("reference"):
        out = run_slices(nets, means, scales, quantize)
    assert seen == [slice(0, 2), slice(2, 8)]
    y_hat = out.y_hat.chunk(4, 1)
    support = []
    for i in range(4):
        context = torch.cat([means, *support], 1)
        mu = nets.mean[i](context)
        sigma = nets.scale[i](torch.cat([scales, *support], 1))
        quantized = torch.round(slices[i] - mu) + mu
        residual = 0.5 * torch.tanh(nets.lrp[i](torch.cat([context, quantized], 1)))
        assert torch.equal(out.means.chunk(4, 1)[i], mu)
        assert torch.equal(out.scales.chunk(4, 1)[i], sigma)
        assert torch.equal(y_hat[i], quantized + residual)
        support = [y_hat[0]]


@pytest.mark.parametrize(
    ("limit", "steps"),
    [(0, [4]), (1, [1, 3]), (2, [1, 1, 2]), (3, [1] * 4), (4, [1] * 4), (-1, [1] * 4)],
)
def test_slices_of_the_same_support_are_one_step(limit, steps):
    found = networks(limit).steps()
    assert [len(step) for step in found] == steps
    assert [i for step in found for i in step] == [0, 1, 2, 3]


def assert_close(actual, expected):
    for kind in ("y_hat", "means", "scales"):
        torch.testing.assert_close(
            getattr(actual, kind), getattr(expected, kind), rtol=1e-5, atol=1e-5
        )


class Attention(nn.Module):
    """Something that takes the place of an attention module."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.conv(x))


engine.traces(Attention)


@pytest.fixture
def programs(monkeypatch):
    """What ran by the engine: for each step whether it was a program."""
    made = []
    plain = engine.run_networks

    def run(function, modules, *inputs):
        seen = []

        def asked(*args):
            seen.append(isinstance(args[1], torch.Tensor))
            return function(*args)

        out = plain(asked, modules, *inputs)
        made.append(True not in seen)
        return out

    monkeypatch.setattr(engine, "run_networks", run)
    return made


@torch.no_grad()
@pytest.mark.parametrize("limit", [0, 1, 2, -1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("attended", [True, False])
def test_programs_are_the_networks(limit, bias, attended, programs):
    nets = networks(limit)
    if attended:
        attention = [[Attention(net[0].in_channels).eval() for net in nets.mean] for _ in range(2)]
        nets = SliceNetworks(nets.mean, nets.scale, nets.lrp, limit, *attention)
    if not bias:
        for kind in (nets.mean, nets.scale, nets.lrp):
            for network in kind:
                network[0].bias = network[2].bias = None
    means, scales, y = (torch.randn(2, c, 3, 5) for c in (6, 6, 8))

    def quantize(channels, mean, scale):
        # Smooth, so that rounding cannot turn a last bit into a symbol.
        return 0.5 * y[:, channels] + mean + 0.1 * scale

    found = run_slices(nets, means, scales, quantize)
    assert programs == [True] * 2 * len(nets.steps())
    with backend("reference"):
        plain = run_slices(nets, means, scales, quantize)
    assert_close(found, plain)
    # A changed weight is seen, also through .data.
    nets.lrp[3][2].weight.data *= 2
    nets.mean[0][0].weight *= 1.5
    found = run_slices(nets, means, scales, quantize)
    with backend("reference"):
        changed = run_slices(nets, means, scales, quantize)
    assert not torch.equal(changed.y_hat[:, 6:], plain.y_hat[:, 6:])
    assert_close(found, changed)


@pytest.mark.parametrize(
    ("change", "modules"),
    [
        (lambda nets: nets.mean[1].append(nn.ReLU()), 0),
        (lambda nets: nets.scale[0].__setitem__(1, nn.CELU()), 1),
        (lambda nets: nets.lrp[2][2].register_forward_hook(lambda *_: None), 1),
        (lambda nets: nets.mean[3][0].register_forward_hook(lambda *_: None), 1),
        (lambda nets: nets.lrp[1].train(), 1),
    ],
)
def test_networks_that_are_no_program_run_as_modules(change, modules, programs):
    nets = networks(1)
    means, scales, y = (torch.randn(1, c, 3, 5) for c in (6, 6, 8))

    def quantize(channels, mean, scale):
        return 0.5 * y[:, channels] + mean + 0.1 * scale

    with torch.no_grad():
        run_slices(nets, means, scales, quantize)
        assert programs == [True] * 4
        change(nets)
        programs.clear()
        found = run_slices(nets, means, scales, quantize)
        assert programs.count(False) == modules
        with backend("reference"):
            assert_close(found, run_slices(nets, means, scales, quantize))
    programs.clear()
    run_slices(nets, means, scales, quantize)
    assert not any(programs)  # a gradient may be asked for


def test_attention_is_of_means_and_scales():
    nets = networks(1)
    with pytest.raises(ValueError, match="neither"):
        SliceNetworks(nets.mean, nets.scale, nets.lrp, 1, nets.mean, None)


def test_attention_stands_before_the_networks_and_lrp_sees_it():
    nets = networks(1)
    double = [nn.Identity()] * 3 + [type("Double", (nn.Module,), {"forward": lambda s, x: 2 * x})()]
    with_attention = SliceNetworks(nets.mean, nets.scale, nets.lrp, 1, double, double)
    hyper = torch.randn(1, 6, 3, 5)
    plain = run_slices(nets, hyper, hyper, lambda channels, mean, scale: mean)
    other = run_slices(with_attention, hyper, hyper, lambda channels, mean, scale: mean)
    assert torch.equal(plain.y_hat[:, :6], other.y_hat[:, :6])
    assert not torch.equal(plain.scales[:, 6:], other.scales[:, 6:])
    mean_support = 2 * torch.cat([hyper, other.y_hat[:, :2]], 1)
    mu = nets.mean[3](mean_support)
    residual = nets.lrp[3](torch.cat([mean_support, mu], 1))
    assert torch.equal(other.y_hat[:, 6:], mu + 0.5 * torch.tanh(residual))


@every_layout
@torch.no_grad()
def test_encoder_and_decoder_agree(gaussian, layout):
    scale_table, tables = gaussian
    nets = networks(2)
    means, scales, y = (torch.randn(1, c, 3, 5) * 30 for c in (6, 6, 8))
    encoder = SliceEncoder(y, scale_table)
    sent = run_slices(nets, means, scales, encoder)
    assert len(encoder.message) == 3
    (string,) = encode_messages([encoder.message], tables, layout)
    reader = open_stream(string, tables, layout)
    decoder = SliceDecoder(reader, scale_table)
    received = run_slices(nets, means, scales, decoder)
    reader.finish()
    assert torch.equal(sent.y_hat, received.y_hat)
    z = np.zeros((1, 1, 1), np.int32)
    symbols = [symbols for symbols, _ in encoder.message]
    assert encoder.checksum(z) == decoder.checksum(z) == symbols_checksum(z, symbols)

    def read(string):
        reader = open_stream(string, tables, layout)
        run_slices(nets, means, scales, SliceDecoder(reader, scale_table))
        reader.finish()

    with pytest.raises(StreamError):
        read(string + b"\0\0\0\0")


@every_layout
def test_hyperlatents_use_the_table_of_their_channel(gaussian, layout):
    _, tables = gaussian
    symbols = np.random.default_rng(0).integers(-300, 300, (64, 2, 3)).astype(np.int32)
    messages = [hyperlatent_message(symbols), hyperlatent_message(np.zeros_like(symbols))]
    string, quiet = encode_messages(messages, tables, layout)
    assert np.array_equal(decode_hyperlatent(string, symbols.shape, tables, layout), symbols)
    assert not decode_hyperlatent(quiet, symbols.shape, tables, layout).any()
    assert len(quiet) < len(string)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2.0**29, -(2.0**40)])
def test_latents_that_no_stream_holds_are_refused(gaussian, value):
    scale_table, _ = gaussian
    y = torch.zeros(1, 2, 3, 5)
    mean, scale = torch.zeros(1, 1, 3, 5), torch.ones(1, 1, 3, 5)
    y[0, 1, 2, 4] = value
    encoder = SliceEncoder(y, scale_table)
    encoder(slice(0, 1), mean, scale)
    with pytest.raises(LatentError, match="not finite"):
        encoder(slice(1, 2), mean, scale)


@pytest.mark.parametrize("name", ["lanes", "LANES", "CompressAI"])
def test_layouts_have_names(name):
    assert StreamLayout.of(name).name == name.upper()
    assert StreamLayout.of(StreamLayout.of(name)) is StreamLayout.of(name)


@pytest.mark.parametrize("name", ["", "rans", 1, None])
def test_an_unknown_layout_is_named(name):
    with pytest.raises(ValueError, match=f"no stream layout {name!r}; there are compressai, lanes"):
        StreamLayout.of(name)


def test_checksum_is_the_documented_crc():
    z = np.array([[[1, -1]]], np.int16)
    y = [np.array([[[2]]], np.int64), np.array([[[-3]]], np.int32)]
    data = b"".join(v.to_bytes(4, "little", signed=True) for v in (1, -1, 2, -3))
    assert symbols_checksum(z, y) == zlib.crc32(data)
