"""What every model does, on tiny ones."""

import copy
import pickle

import pytest
import torch
from compressai.models import CompressionModel

import lic_fast
from lic_fast.entropy import LatentStreams
from lic_fast.errors import ChecksumError, StreamError
from lic_fast.models import TCM, WACNN, SymmetricalTransFormer
from lic_fast.stream_layout import StreamLayout
from tests.models.tiny import CLASSES, pictures, tiny

every_model = pytest.mark.parametrize("model", CLASSES)


@every_model
@pytest.mark.parametrize("layout", ["lanes", "compressai"])
def test_decompress_gives_the_forward_pass_bit_for_bit(model, layout):
    net, x = tiny(model), pictures(model, batch=3)
    with torch.no_grad():
        out = net(x)
    streams = net.compress(x, layout=layout)
    assert isinstance(net, CompressionModel)
    assert [len(strings) for strings in streams["strings"]] == [3, 3]
    assert all(isinstance(s, bytes) for strings in streams["strings"] for s in strings)
    decoded = net.decompress(**streams, layout=layout)["x_hat"]
    assert torch.equal(decoded, out["x_hat"].clamp(0, 1))
    # With gradients enabled the transforms run in another memory layout, and round otherwise.
    torch.testing.assert_close(net(x)["x_hat"].detach(), out["x_hat"], rtol=0, atol=1e-4)
    assert any(len(string) > 8 for string in streams["strings"][0])


@every_model
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("side", [128, 384])
def test_the_layout_of_the_input_in_memory_does_not_matter(model, batch, side):
    net = tiny(model)
    x = torch.nn.functional.interpolate(pictures(model, batch), (side, side))
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = net(x)["x_hat"].clamp(0, 1)
    assert torch.equal(net.decompress(**net.compress(x))["x_hat"], expected)


@every_model
def test_a_stream_does_not_depend_on_its_batch(model):
    net, x = tiny(model), pictures(model, batch=3)
    together = net.encode(x)
    batch = net.decode(together)
    for i in range(3):
        one = LatentStreams(
            together.y[i : i + 1],
            together.z[i : i + 1],
            together.shape,
            together.checksums[i : i + 1],
        )
        torch.testing.assert_close(net.decode(one), batch[i : i + 1], rtol=0, atol=1e-5)


@every_model
def test_likelihoods_are_those_of_the_stream(model):
    net, x = tiny(model), pictures(model)
    with torch.no_grad():
        likelihoods = net(x)["likelihoods"]
    strings = net.compress(x)["strings"]
    assert likelihoods["y"].shape == (1, net.M, 8, 16)
    assert likelihoods["z"].shape[2:] == (2, 4)
    bits = sum(-value.double().log2().sum().item() for value in likelihoods.values())
    assert sum(8 * len(s[0]) for s in strings) == pytest.approx(bits, rel=0.05, abs=400)


@every_model
def test_training_has_gradients_everywhere_it_should(model):
    net, x = tiny(model).train(), pictures(model)
    out = net(x)
    rate = sum(-value.log2().sum() for value in out["likelihoods"].values()) / x[0, 0].numel()
    (rate + (out["x_hat"] - x).square().mean()).backward()
    net.aux_loss().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert without == []
    zero = [name for name, p in net.named_parameters() if not p.grad.abs().sum() > 0]
    # A bias shared by all keys of a softmax has no influence; everything else must learn.
    assert all("relative_position" in name for name in zero), zero
    assert torch.isfinite(out["x_hat"]).all()


@every_model
def test_training_rounds_straight_through_and_adds_noise(model):
    net, x = tiny(model).train(), pictures(model)
    torch.manual_seed(1)
    first = net(x)["likelihoods"]["y"]
    torch.manual_seed(2)
    second = net(x)["likelihoods"]["y"]
    assert not torch.equal(first, second)


@every_model
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 127, 128), "multiples of {multiple}"),
        ((1, 3, 128, 100), "multiples of {multiple}"),
        ((1, 3, 0, 128), "multiples of {multiple}"),
        ((3, 128, 128), r"must be \(B, 3, H, W\)"),
        ((1, 1, 128, 128), r"must be \(B, 3, H, W\)"),
        ((0, 3, 128, 128), "B >= 1"),
    ],
)
def test_inputs_of_another_form_are_refused(model, shape, message):
    net = tiny(model)
    for call in (net, net.compress):
        with pytest.raises(ValueError, match=message.format(multiple=net.multiple)):
            call(torch.zeros(shape))


@every_model
def test_integers_and_values_that_are_not_finite_are_refused(model):
    net, x = tiny(model), pictures(model)
    with pytest.raises(TypeError, match="floating point"):
        net.compress((x * 255).byte())
    x[0, 0, 5, 5] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        net.compress(x)


@every_model
def test_strings_of_another_form_are_refused(model):
    net = tiny(model)
    streams = net.compress(pictures(model))
    y, z = streams["strings"]
    shape = streams["shape"]
    with pytest.raises(ValueError, match="list of 1"):
        net.decompress([y], shape)
    with pytest.raises(ValueError, match="1 and 2"):
        net.decompress([y, z + z], shape)
    with pytest.raises(ValueError, match="0 and 0"):
        net.decompress([[], []], shape)
    with pytest.raises(ValueError, match="rows and columns"):
        net.decompress([y, z], (2,))
    with pytest.raises(ValueError, match="two positive whole numbers"):
        net.decompress([y, z], (0, 4))
    if model is TCM:
        with pytest.raises(ValueError, match="multiples of 2"):
            net.decompress([y, z], (1, 4))
    with pytest.raises(StreamError):
        net.decompress([[y[0][:-4]], z], shape)
    with pytest.raises(StreamError):
        net.decompress([y, [z[0] + b"\0\0\0\0"]], shape)
    with pytest.raises(StreamError):
        net.decompress([[b""], z], shape)


@every_model
def test_lanes_are_the_default_and_other_layouts_are_refused(model):
    net, x = tiny(model), pictures(model)
    streams = net.encode(x)
    assert streams.layout is StreamLayout.LANES
    assert net.compress(x)["strings"] == [streams.y, streams.z]
    with pytest.raises(ValueError, match="no stream layout 'rans'"):
        net.compress(x, layout="rans")
    strings = net.compress(x, layout="compressai")
    assert strings["strings"] != [streams.y, streams.z]
    with pytest.raises(StreamError):
        net.decompress(**strings)


@every_model
def test_a_wrong_symbol_does_not_pass_the_checksum(model):
    net = tiny(model)
    streams = net.encode(pictures(model))
    with pytest.raises(ChecksumError, match="image 0"):
        net.decode(LatentStreams(streams.y, streams.z, streams.shape, [streams.checksums[0] ^ 1]))
    with pytest.raises(ValueError, match="2 checksums for 1"):
        net.decode(LatentStreams(streams.y, streams.z, streams.shape, streams.checksums * 2))


@every_model
def test_without_tables_the_message_says_how_to_make_them(model):
    net = type(tiny(model))(**tiny(model).arguments).eval()
    with pytest.raises(ValueError, match=r"call update\(\)"):
        net.compress(pictures(model))


@every_model
def test_tables_follow_update(model):
    net, x = tiny(model), pictures(model)
    before = net.compress(x)["strings"]
    with torch.no_grad():
        net.entropy_bottleneck.quantiles[:, :, 2] += 40
    assert net.compress(x)["strings"] == before
    assert net.update(force=True)
    assert net.compress(x)["strings"] != before
    with torch.no_grad():
        expected = net(x)["x_hat"].clamp(0, 1)
    assert torch.equal(net.decompress(**net.compress(x))["x_hat"], expected)


@every_model
def test_fingerprint_changes_with_every_weight_and_with_the_tables(model):
    net = tiny(model)
    first = net.fingerprint()
    assert len(first) == 8
    assert tiny(model).fingerprint() == first == copy.deepcopy(net).fingerprint()
    with torch.no_grad():
        next(net.h_a.parameters()).view(-1)[0] += 1
    second = net.fingerprint()
    assert second != first
    net.gaussian_conditional.update_scale_table([0.11, 1.0, 4.0], force=True)
    third = net.fingerprint()
    assert third not in (first, second)
    # Through .data, which no version counter sees.
    next(net.h_a.parameters()).data.neg_()
    fourth = net.fingerprint()
    assert fourth != third
    # A single number written so leaves no trace.
    next(net.h_a.parameters()).data.view(-1)[0] -= 1
    lic_fast.refresh(net)
    assert net.fingerprint() not in (third, fourth)
    # bfloat16 arithmetic is other arithmetic, even where the weights are equal.
    halved = copy.deepcopy(net).bfloat16()
    assert halved.fingerprint() != copy.deepcopy(halved).float().fingerprint()


@every_model
def test_models_can_be_copied_pickled_and_moved_between_types(model):
    net, x = tiny(model), pictures(model)
    strings = net.compress(x)["strings"]
    assert pickle.loads(pickle.dumps(net)).compress(x)["strings"] == strings
    assert copy.deepcopy(net).compress(x)["strings"] == strings
    double = copy.deepcopy(net).double()
    assert torch.isfinite(double.decompress(**double.compress(x.double()))["x_hat"]).all()


@every_model
def test_state_dict_round_trip_keeps_the_streams(model):
    net, x = tiny(model), pictures(model)
    other = type(net).from_state_dict(net.state_dict()).eval()
    assert {**other.arguments, **net.arguments} == other.arguments
    assert other.compress(x)["strings"] == net.compress(x)["strings"]
    into = tiny(model, seed=1)
    into.load_state_dict(net.state_dict())
    assert into.compress(x)["strings"] == net.compress(x)["strings"]
    assert into.fingerprint() == net.fingerprint()


def test_backend_names():
    assert lic_fast.ops.current_backend() == "auto"
    net, x = tiny(WACNN), pictures(WACNN)
    with lic_fast.backend("reference"):
        assert lic_fast.ops.current_backend() == "reference"
        expected = net(x)["x_hat"]
    assert lic_fast.ops.current_backend() == "auto"
    torch.testing.assert_close(net(x)["x_hat"], expected)
    with pytest.raises(ValueError, match="auto, reference"), lic_fast.backend("cuda"):
        pass


def test_widths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="320 latent channels do not divide into 7"):
        WACNN(num_slices=7)
    with pytest.raises(ValueError, match="heads"):
        WACNN(N=20, num_heads=8)
    with pytest.raises(ValueError, match="six stages"):
        TCM(config=(2, 2))
    with pytest.raises(ValueError, match="1/16"):
        SymmetricalTransFormer(patch_size=4)
    with pytest.raises(ValueError, match="as many num_heads"):
        SymmetricalTransFormer(num_heads=(3, 6))


def test_stf_options_of_the_original():
    arguments = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4), "num_slices": 4}
    plain = SymmetricalTransFormer(**arguments, drop_path_rate=0).train()
    x = pictures(SymmetricalTransFormer)
    plain.analysis(x).sum().backward()
    saving = SymmetricalTransFormer(**arguments, drop_path_rate=0, use_checkpoint=True).train()
    saving.load_state_dict(plain.state_dict())
    saving.analysis(x).sum().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, msg=name)
    frozen = SymmetricalTransFormer(**arguments, frozen_stages=2)
    assert not any(p.requires_grad for p in frozen.patch_embed.parameters())
    assert not any(p.requires_grad for p in frozen.layers[0].parameters())
    assert all(p.requires_grad for p in frozen.layers[1].parameters())
    assert not frozen.train().layers[0].training
    bare = SymmetricalTransFormer(**arguments, patch_norm=False, qkv_bias=False, mlp_ratio=2.0)
    again = SymmetricalTransFormer.from_state_dict(bare.state_dict())
    assert again.arguments == bare.arguments


@pytest.mark.parametrize("model", CLASSES)
@torch.no_grad()
def test_a_model_compiles_without_graph_breaks(model):
    net, x = tiny(model), pictures(model)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x)["x_hat"], net(x)["x_hat"], rtol=1e-4, atol=1e-4)
