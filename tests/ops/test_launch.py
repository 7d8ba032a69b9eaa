"""Dispatch to Triton's operators, seen on tensors that have a CUDA device but no memory."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lic_fast import backend
from lic_fast.ops import add_residual, conv3x3, feed_forward
from lic_fast.ops.exact_add_residual import exact_add_residual
from lic_fast.ops.integer_layer import Quantizer, integer_layer
from lic_fast.ops.launch import launchable


class Calls(TorchDispatchMode):
    """Names of the operators of lic_fast that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "lic_fast":
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


SHAPES = {
    feed_forward: ((2, 3, 12), (12,), (12,), (20, 12), (20,), (12, 20), (12,)),
    conv3x3: ((2, 6, 4, 5), (10, 6, 3, 3), (10,)),
    add_residual: ((2, 3, 4, 5), (2, 3, 4, 5)),
}


def calls(operator, device="cuda", dtype=torch.float32):
    with FakeTensorMode(), Calls() as seen:
        operands = [torch.empty(shape, device=device, dtype=dtype) for shape in SHAPES[operator]]
        out = operator(*operands)
    assert out.device.type == device
    assert out.dtype == dtype
    return seen.names


@pytest.mark.parametrize("operator", SHAPES)
def test_cuda_tensors_go_to_the_kernels(operator):
    expected = [f"lic_fast::{operator.__name__}"]
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert calls(operator, dtype=dtype) == expected
    assert calls(operator, dtype=torch.float64) == []
    assert calls(operator, device="cpu") == []
    with backend("reference"):
        assert calls(operator) == []


def on(device, shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device=device)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_cuda_tensors_go_to_the_kernels_of_integer_layers(device):
    launched = device == "cuda"
    with FakeTensorMode(), Calls() as seen:
        x = on(device, (2, 10, 4, 5))
        quantizer = Quantizer(on(device, 10), on(device, 10, torch.int32), 14)
        high, low = quantizer(x)
        assert exact_add_residual(x, x).shape == x.shape
        with backend("reference"):
            quantizer(x)
            exact_add_residual(x, x)
        if launched:  # the CPU's own code takes no tensors without memory
            weight = on(device, (10, 5, 3, 3), torch.int8)
            halves, border = [high, low], [on(device, 10, torch.uint8)] * 2
            layer = (halves, weight, on(device, 10, torch.int32), on(device, 10))
            float_map = integer_layer(*layer, border=border, stride=2, groups=2)
            assert (float_map.dtype, float_map.shape) == (torch.float32, (2, 10, 2, 3))
            out = integer_layer(*layer, border=border, groups=2, residual=x, output=quantizer)
            assert [(half.dtype, half.shape) for half in out] == [(torch.uint8, x.shape)] * 2
    names = ["quantize_activations", "exact_add_residual", "integer_layer", "integer_layer"]
    assert seen.names == ([f"lic_fast::{name}" for name in names] if launched else [])


def test_what_is_launchable():
    with FakeTensorMode():
        x = torch.empty(2, 3, device="cuda")
        assert launchable(x, None, x)
        assert not launchable(x, torch.empty(2, 3))
        assert not launchable(x, torch.empty(2, 3, device="cuda:1"))
        assert not launchable(x, x.double())
        assert not launchable(x.half(), dtypes=(torch.float32,))
        assert not launchable(torch.empty(2**31, device="cuda"))
    assert not launchable(None)
