"""Inputs of another kind are refused at the door, by one message for every method."""

import numpy as np
import pytest
import torch

from lic_fast.models import TCM, WACNN
from lic_fast.models.inputs import MAX_PIXELS
from tests.models.portable.making import portable
from tests.models.tiny import CLASSES, pictures, tiny

NETS = {}


def net_of(model):
    return NETS.setdefault(model, tiny(model))


def doors(net):
    return {
        "forward": net,
        "compress": net.compress,
        "encode": net.encode,
        "analyse": net.analyse,
        "encode_latents": net.encode_latents,
        "reconstruct": net.reconstruct,
    }


def sparse(x):
    return x.to_sparse()


KINDS = {
    "half": (torch.Tensor.half, r"not of torch.float16: convert it, x.to\(torch.float32\), or"),
    "bfloat16": (torch.Tensor.bfloat16, r"not of torch.bfloat16: .*model.to\(torch.bfloat16\)"),
    "double": (torch.Tensor.double, "not of torch.float64"),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), "not of torch.float8_e4m3fn"),
    "bytes": (torch.Tensor.byte, "not of torch.uint8"),
    "bool": (torch.Tensor.bool, "not of torch.bool"),
    "complex": (lambda x: x.to(torch.complex64), "not of torch.complex64"),
    "array": (torch.Tensor.numpy, r"not a numpy.ndarray: torch.from_numpy\(x\) makes one"),
    "none": (lambda x: None, "not None"),
    "list": (lambda x: [x], "not a builtins.list"),
    "sparse": (sparse, "not one of torch.sparse_coo"),
    "meta": (lambda x: x.to("meta"), r"not on meta: move it, x.to\('cpu'\)"),
}


@pytest.mark.parametrize("model", CLASSES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_door_says_what_was_given_and_what_is_taken(model, kind):
    change, message = KINDS[kind]
    for name, door in doors(net_of(model)).items():
        x = pictures(model)
        with pytest.raises(TypeError) as error:
            door(change(x))
        latents = name in ("encode_latents", "reconstruct")
        start = "latents must be" if latents else "an input must be"
        assert str(error.value).startswith(
            f"{start} a dense tensor of torch.float32 on cpu, as the model's parameters are, not"
        )
        error.match(message)
    if kind in ("bytes", "bool", "complex"):
        with pytest.raises(TypeError, match=r"pixels are floating point in \[0, 1\]"):
            net_of(model)(change(pictures(model)))


def test_training_checks_too():
    net = tiny(WACNN).train()
    with pytest.raises(TypeError, match=r"not of torch.float64"):
        net(pictures(WACNN).double())
    with torch.autocast("cpu", torch.bfloat16):
        assert net(pictures(WACNN))["x_hat"].shape == pictures(WACNN).shape


@torch.no_grad()
def test_a_model_of_another_type_takes_that_type():
    net, x = tiny(WACNN).double(), pictures(WACNN).double()
    assert net(x)["x_hat"].dtype == torch.float64
    coded = net.compress(x)
    assert torch.equal(net.decompress(**coded)["x_hat"], net(x)["x_hat"].clamp(0, 1))
    with pytest.raises(TypeError, match=r"torch.float64 on cpu.*not of torch.float32"):
        net.compress(x.float())


def test_a_portable_model_takes_float32():
    net, x = portable(WACNN), pictures(WACNN)
    for given in (x.double(), x.half()):
        # It cannot be converted itself.
        with pytest.raises(TypeError, match=rf"not of {given.dtype}: .*x.to\(torch.float32\)$"):
            net(given)
        with pytest.raises(TypeError, match=f"not of {given.dtype}"):
            net.compress(given)


def test_shapes_of_latents():
    net = net_of(WACNN)
    for y in (torch.rand(24, 8, 16), torch.rand(0, 24, 8, 16), torch.rand(1, 24, 0, 16)):
        with pytest.raises(ValueError, match="latents must be"):
            net.encode_latents(y)


@pytest.mark.parametrize(
    "shape",
    [(2.5, 3), (2, 3.0), (0, 2), (-2, 4), (True, 2), (2,), (2, 4, 1), "24", None, 2, (2, None)],
)
def test_shapes_that_are_none(shape):
    net = net_of(WACNN)
    coded = net.compress(pictures(WACNN))
    with pytest.raises(ValueError, match="two positive whole numbers, not"):
        net.decompress(coded["strings"], shape)


@pytest.mark.parametrize("model", [WACNN, TCM])
@pytest.mark.parametrize("shape", [(20000, 20000), (2**31, 2**31), (2**70, 2), (2, 8194)])
def test_shapes_of_pictures_that_are_too_large(model, shape):
    net = net_of(model)
    strings = net.compress(pictures(model))["strings"]
    with pytest.raises(ValueError, match="pixels that are allowed; raise max_pixels"):
        net.decompress(strings, shape, max_pixels=min(MAX_PIXELS, 2**26))


def test_every_whole_number_is_taken_and_the_bound_can_be_set():
    net, x = net_of(WACNN), pictures(WACNN)
    coded = net.compress(x)
    expected = net.decompress(**coded)["x_hat"]
    for shape in ([2, 4], np.array([2, 4]), (np.int64(2), np.uint8(4)), torch.tensor([2, 4])):
        assert torch.equal(net.decompress(coded["strings"], shape)["x_hat"], expected)
    assert coded["shape"] == torch.Size([2, 4])
    assert torch.equal(net.decompress(**coded, max_pixels=128 * 256)["x_hat"], expected)
    with pytest.raises(ValueError, match="a picture of 256x128, more than the 32767 pixels"):
        net.decompress(**coded, max_pixels=128 * 256 - 1)


def test_strings_of_another_kind():
    net = net_of(WACNN)
    coded = net.compress(pictures(WACNN))
    (y,), (z,) = coded["strings"]
    for strings in (None, y, "text", 3):
        with pytest.raises(TypeError, match=r"must be \[y_strings, z_strings\], not"):
            net.decompress(strings, (2, 4))
    for strings, message in (
        ([y, z], "y_strings must be a list of bytes, one for each image, not bytes"),
        ([[y], [None]], "z_strings must be a list of bytes, .* not a list with NoneType"),
        ([["text"], [z]], "y_strings must be a list of bytes, .* not a list with str"),
        ([[y], np.zeros(3)], "z_strings must be a list of bytes, .* not ndarray"),
    ):
        with pytest.raises(TypeError, match=message):
            net.decompress(strings, (2, 4))
    with pytest.raises(ValueError, match="not a list of 1"):
        net.decompress([[y]], (2, 4))
    same = net.decompress([[bytearray(y)], (memoryview(z),)], (2, 4))["x_hat"]
    assert torch.equal(same, net.decompress(**coded)["x_hat"])
