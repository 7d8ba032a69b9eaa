"""Recordings of jobs, played back on a CPU, against the eager path bit for bit."""

import copy
import warnings
from importlib import import_module
from unittest import mock

import pytest
import torch

from lic_fast import backend
from lic_fast.entropy import slices as slices_module
from lic_fast.entropy.hoisted_slices import HoistedSlices, alike
from lic_fast.errors import ChecksumError, LatentError, StreamError
from lic_fast.models import on_device
from lic_fast.models.graphs import CUDA_GRAPHS, Graphs
from lic_fast.stream_layout import StreamLayout
from tests.models.portable.making import portable
from tests.models.tape import TapeCapture
from tests.models.tiny import CLASSES, pictures, tiny

LANES = StreamLayout.LANES
every_class = pytest.mark.parametrize("model", CLASSES)


@pytest.fixture(autouse=True)
def _as_on_a_gpu():
    """The plain operators, which a dispatch mode sees, around the networks as a GPU runs them."""

    def hoisted(networks, latents):
        every = [*networks.mean, *networks.scale, *networks.lrp]
        return None if networks.exact or not alike(every) else HoistedSlices(networks)

    with (
        torch.no_grad(),
        backend("reference"),
        mock.patch.object(slices_module, "hoisted_slices", hoisted),
        # They look at values, of operands on a CPU.
        mock.patch.object(import_module("lic_fast.ops.integer_layer"), "check_operands"),
        mock.patch.object(import_module("lic_fast.ops.integer_conv2d"), "check_operands"),
    ):
        yield


def encode(net, x, graphs, layout=LANES):
    return on_device.encode(net, x, layout, graphs=graphs)


def eager():
    return Graphs(None)


def same(one, other):
    assert one.y == other.y
    assert one.z == other.z
    assert one.checksums == other.checksums
    assert one.shape == other.shape


@pytest.mark.parametrize(
    ("model", "kind"), [*((model, tiny) for model in CLASSES), (CLASSES[1], portable)]
)
def test_recordings_give_what_was_recorded_for_other_pictures(model, kind):
    net, graphs = kind(model), Graphs(TapeCapture())
    capture = graphs._capture
    for seed in range(3):
        x = pictures(model, seed=seed)
        streams = encode(net, x, graphs)
        same(streams, encode(net, x, eager()))
        out = on_device.decode(net, streams, graphs)
        assert torch.equal(out, on_device.decode(net, streams, eager()))
        assert torch.equal(out, out.clamp(0, 1))
        # The third picture is the first that is played back.
        assert capture.recorded == (0 if seed == 0 else 2)
    assert len(graphs) == 2


@every_class
@pytest.mark.parametrize("layout", StreamLayout)
def test_devices_code_as_the_cpu_does(model, layout):
    """Portable models, so that no order of summation matters."""
    net, x = portable(model), pictures(model, batch=2)
    streams = encode(net, x, eager(), layout)
    same(streams, net.encode(x, layout=layout))
    expected = net.decode(streams)
    assert torch.equal(on_device.decode(net, streams, eager()), expected)


def test_a_result_is_not_overwritten_by_the_next_one():
    net, graphs = tiny(CLASSES[1]), Graphs(TapeCapture())
    streams = [encode(net, pictures(CLASSES[1], seed=i), eager()) for i in range(4)]
    outs = [on_device.decode(net, s, graphs) for s in streams]
    for out, s in zip(outs, streams, strict=True):
        assert torch.equal(out, on_device.decode(net, s, eager()))


def test_batches_and_sizes_have_recordings_of_their_own_and_the_oldest_goes():
    net, graphs = tiny(CLASSES[1]), Graphs(TapeCapture(), size=2)
    whole = pictures(CLASSES[1], batch=2)
    inputs = [whole[:1], whole[..., :128], whole[..., :64, :128]]
    for x in inputs:
        for _ in range(3):
            same(encode(net, x, graphs), encode(net, x, eager()))
    assert graphs._capture.recorded == 3
    assert len(graphs) == 2
    encode(net, inputs[1], graphs)
    encode(net, inputs[2], graphs)
    assert graphs._capture.recorded == 3
    same(encode(net, inputs[0], graphs), encode(net, inputs[0], eager()))
    assert graphs._capture.recorded == 4
    assert len(graphs) == 2


def _new_bias(layer, data=False):
    """By another tensor, or another address of the same one."""
    if data:
        layer.bias.data = layer.bias.data + 2
    else:
        layer.bias = torch.nn.Parameter(layer.bias + 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.cc_mean_transforms[1][-1].bias.add_(2),
        lambda net: net.h_mean_s[-1].bias.add_(3),
        lambda net: _new_bias(net.cc_mean_transforms[0][-1]),
        lambda net: _new_bias(net.cc_mean_transforms[2][-1], data=True),
        lambda net: net.load_state_dict(tiny(CLASSES[1], seed=5).state_dict()),
    ],
)
def test_changed_weights_are_seen(change):
    net, graphs = tiny(CLASSES[1]), Graphs(TapeCapture())
    x = pictures(CLASSES[1])
    for _ in range(3):
        before = encode(net, x, graphs)
    change(net)
    after = encode(net, x, graphs)
    assert after.y != before.y
    same(after, encode(net, x, eager()))
    assert graphs._capture.recorded == 2


def test_settings_have_recordings_of_their_own():
    net, graphs = tiny(CLASSES[1]), Graphs(TapeCapture())
    streams = encode(net, pictures(CLASSES[1]), eager())
    for precision in ("float32", "bfloat16") * 3:
        net.precision = precision
        out = on_device.decode(net, streams, graphs)
        assert torch.equal(out, on_device.decode(net, streams, eager()))
    assert graphs._capture.recorded == 2


def test_when_nothing_is_recorded(monkeypatch):
    net, graphs, x = tiny(CLASSES[1]), Graphs(TapeCapture()), pictures(CLASSES[1])

    def run():
        for _ in range(3):
            same(encode(net, x, graphs), encode(net, x, eager()))
        return graphs._capture.recorded

    net.cuda_graphs = False
    assert run() == 0
    net.cuda_graphs = True
    monkeypatch.setenv(CUDA_GRAPHS, "0")
    assert run() == 0
    monkeypatch.delenv(CUDA_GRAPHS)
    hook = net.g_a[0].register_forward_hook(lambda *_: None)
    assert run() == 0
    hook.remove()
    assert run() == 1


def test_a_model_that_cannot_be_recorded_runs_without_and_warns_once():
    net, x = tiny(CLASSES[1]), pictures(CLASSES[1])
    graphs = Graphs(TapeCapture())

    own = type(net)._network

    def watched(self, network, x, method="forward"):
        assert x.sum().item() >= 0
        return own(self, network, x, method)

    with mock.patch.object(type(net), "_network", watched):
        expected = encode(net, x, graphs)
        with pytest.warns(UserWarning, match=r"graphs are off .* waits for the device"):
            same(encode(net, x, graphs), expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(2):
                same(encode(net, x, graphs), expected)
    assert len(graphs) == 0


@pytest.mark.parametrize("layout", StreamLayout)
def test_symbols_beyond_16_bits(layout):
    """Wide in some steps and not in others, in the first pictures and in those played back."""
    net, graphs = tiny(CLASSES[1]), Graphs(TapeCapture())
    x = pictures(CLASSES[1])
    huge = torch.zeros(1, 24, 1, 1)
    huge[0, 9] = 3e5
    own = net.analysis
    for factor in (0.0, 1.0, 0.0, -1.0, 0.1):
        with mock.patch.object(net, "analysis", lambda x, offset=factor * huge: own(x) + offset):
            streams = encode(net, x, eager(), layout)
        out = on_device.decode(net, streams, graphs)
        assert torch.equal(out, on_device.decode(net, streams, eager()))
        # The definition on the CPU, whose symbols are int32.
        with mock.patch.object(slices_module, "hoisted_slices", return_value=None):
            cpu = net.encode(x + 0)
            assert torch.equal(net.decode(cpu), on_device.decode(net, cpu, eager()))
    assert graphs._capture.recorded == 1


def test_wide_symbols_of_an_encoder_played_back():
    """The picture decides: a bright one has symbols beyond 16 bits."""
    net, graphs = tiny(CLASSES[1]), Graphs(TapeCapture())
    x, own = pictures(CLASSES[1]), net.analysis
    peaks = []
    with mock.patch.object(net, "analysis", lambda x: own(x) + 3e5 * (x.amax() > 0.5)):
        for factor in (0.4, 0.4, 1.0, 0.4, 1.0):
            streams = encode(net, factor * x, graphs)
            job = on_device.Encoding(net, x)
            given = on_device.Pictures(factor * x, LANES, net.cdf_tables())
            same(streams, eager().run(net, (), lambda job=job: job, given))
            peaks.append(float(job.buffers[0].peak) >= 2**15)
            # The definition on the CPU takes symbol by symbol as it comes.
            with mock.patch.object(slices_module, "hoisted_slices", return_value=None):
                same(net.encode(factor * x), encode(net, factor * x, eager()))
    assert peaks == [False, False, True, False, True]
    assert graphs._capture.recorded == 1


def test_errors_leave_recordings_as_they_were():
    net, graphs = tiny(CLASSES[1]), Graphs(TapeCapture())
    x = pictures(CLASSES[1])
    streams = encode(net, x, eager())
    expected = on_device.decode(net, streams, eager())
    for _ in range(3):
        on_device.decode(net, streams, graphs)
        encode(net, x, graphs)
    broken = copy.copy(streams)
    object.__setattr__(broken, "y", [streams.y[0][:-6]])
    with pytest.raises(StreamError):
        on_device.decode(net, broken, graphs)
    assert torch.equal(on_device.decode(net, streams, graphs), expected)
    object.__setattr__(broken, "y", streams.y)
    object.__setattr__(broken, "checksums", [streams.checksums[0] ^ 1])
    with pytest.raises(ChecksumError, match="image 0"):
        on_device.decode(net, broken, graphs)
    with pytest.raises(LatentError, match="not finite"):
        encode(net, torch.full_like(x, float("nan")), graphs)
    same(encode(net, x, graphs), streams)
    assert torch.equal(on_device.decode(net, streams, graphs), expected)
    net.g_s[-1].bias.fill_(float("inf"))
    with pytest.raises(LatentError, match="picture is not finite"):
        on_device.decode(net, streams, graphs)
