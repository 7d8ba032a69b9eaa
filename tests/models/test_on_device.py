"""Jobs on tensors that have a CUDA device but no memory: nothing in them waits for the device."""

import copy
from unittest import mock

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lic_fast.entropy import device_coding
from lic_fast.models import on_device
from tests.models.portable.making import portable
from tests.models.tape import NoWaiting
from tests.models.tiny import CLASSES, pictures, tiny


class Operators(NoWaiting):
    """Also notes the operators of lic_fast."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "lic_fast":
            self.names.add(func._schema.name.removeprefix("lic_fast::"))
        return super().__torch_dispatch__(func, types, args, kwargs)


def on_cuda(model):
    """A copy whose parameters and buffers have a CUDA device but no memory; in a fake mode."""

    def like(x):
        return torch.empty(x.shape, dtype=x.dtype, device="cuda")

    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(like(parameter), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = like(buffer)
    return model


class Never:
    """A signal between the device and the host; the host's actions do not run here."""

    def __init__(self, device):
        pass


KERNELS = {
    "tiny": {"device_quantize", "device_scale_index", "device_dequantize", "add_residual"},
    "portable": {"device_quantize", "device_scale_index", "device_dequantize"},
}
NETWORKS = {
    "tiny": {"conv3x3"},
    "portable": {"integer_layer", "quantize_activations", "exact_add_residual"},
}


@pytest.mark.parametrize("model", CLASSES)
@pytest.mark.parametrize("kind", [tiny, portable])
@torch.no_grad()
def test_the_device_s_work_never_waits(model, kind):
    net = copy.deepcopy(kind(model))
    net.precision = "float32"
    shape = pictures(model).shape
    name = "tiny" if kind is tiny else "portable"
    cuts = []
    with (
        FakeTensorMode(),
        mock.patch.object(device_coding, "_Signal", Never),
        mock.patch.object(device_coding, "_host", torch.empty_like),
    ):
        net = on_cuda(net)
        x = torch.empty(2, *shape[1:], device="cuda")
        encoding = on_device.Encoding(net, x)
        with Operators() as seen:
            encoding.run(net, cuts.append)
        assert len(cuts) == 1
        assert seen.names >= NETWORKS[name] | {"device_quantize"}
        decoding = on_device.Decoding(net, 2, (shape[2] // 64, shape[3] // 64))
        with Operators() as seen:
            decoding.run(net, cuts.append)
    assert seen.names >= NETWORKS[name] | KERNELS[name] - {"device_quantize"}
    steps = len(net.slice_networks().steps())
    # For each of the two images: its streams, and of each step the indexes and the symbols, in
    # one go where nothing runs meanwhile.
    assert len(cuts) == 1 + 2 * (1 + (2 if kind is tiny else 1) * steps)


@torch.no_grad()
def test_the_check_refuses_what_waits():
    with FakeTensorMode():
        x = torch.empty(3, device="cuda")
        for waits in (
            lambda: x.cpu(),
            lambda: x.copy_(torch.empty(3)),
            lambda: x.nonzero(),
            lambda: x.sum().item(),
            lambda: bool((x > 0).all()),
        ):
            with pytest.raises((AssertionError, RuntimeError)), NoWaiting():
                waits()
