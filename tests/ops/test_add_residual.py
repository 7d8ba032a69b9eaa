"""Latent residual prediction against its formula, and its registration."""

import math

import pytest
import torch

from lic_fast import backend
from lic_fast.ops import add_residual


def operands(requires_grad=False, dtype=torch.float32):
    torch.manual_seed(0)
    return [torch.randn(2, 3, 4, 5, dtype=dtype).requires_grad_(requires_grad) for _ in range(2)]


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_is_the_formula(name):
    quantized, lrp = operands(dtype=torch.float64)
    with backend(name):
        out = add_residual(quantized, lrp)
    for q, r, o in zip(*(t.flatten().tolist() for t in (quantized, lrp, out)), strict=True):
        assert math.isclose(o, q + 0.5 * math.tanh(r), rel_tol=1e-14, abs_tol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_type_and_shape(dtype):
    quantized, lrp = operands(dtype=dtype)
    out = add_residual(quantized, lrp)
    assert out.dtype == dtype
    assert out.shape == quantized.shape
    assert add_residual(quantized[:, :0], lrp[:, :0]).shape == (2, 0, 4, 5)


def test_gradients():
    assert torch.autograd.gradcheck(add_residual, operands(True, torch.float64))
    operator = torch.ops.lic_fast.add_residual
    assert torch.autograd.gradcheck(operator, operands(True, torch.float64))


def test_the_operator_is_registered_as_pytorch_asks():
    operator = torch.ops.lic_fast.add_residual.default
    torch.library.opcheck(operator, operands(requires_grad=True))
    quantized, lrp = operands()
    quantized = quantized.contiguous(memory_format=torch.channels_last)
    torch.library.opcheck(operator, (quantized, lrp))
    torch.library.opcheck(operator, (quantized[:, 1:], lrp[:, 1:]))


def test_torch_compile_traces_through():
    quantized, lrp = operands()

    def block(quantized, lrp):
        return torch.ops.lic_fast.add_residual(quantized * 2, lrp) + 1

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(quantized, lrp), block(quantized, lrp), rtol=0, atol=0)


def test_operands_that_do_not_fit_are_refused():
    quantized, lrp = operands()
    with pytest.raises(ValueError, match=r"one shape, not \(2, 3, 4, 5\), \(3, 4, 5\)"):
        add_residual(quantized, lrp[0])
    with pytest.raises(TypeError, match=r"float32, torch\.float64"):
        add_residual(quantized, lrp.double())
    with pytest.raises(TypeError, match="one floating-point type"):
        add_residual(quantized.int(), lrp.int())
