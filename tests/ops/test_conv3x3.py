"""The 3x3 convolution's definition against torch.nn, and its registration."""

import pytest
import torch
from torch import nn

from lic_fast import backend
from lic_fast.ops import conv3x3


def operands(groups=1, requires_grad=False, dtype=torch.float32):
    """x, weight, bias, residual."""
    torch.manual_seed(0)
    shapes = ((2, 6, 4, 5), (10, 6 // groups, 3, 3), (10,), (2, 10, 4, 5))
    return [torch.randn(s, dtype=dtype).requires_grad_(requires_grad) for s in shapes]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_is_the_layers_of_torch(groups, biased, added, activation):
    x, weight, bias, residual = operands(groups)
    layer = nn.Conv2d(6, 10, 3, padding=1, groups=groups, bias=biased)
    layer.weight.data = weight
    if biased:
        layer.bias.data = bias
    out = conv3x3(
        x,
        weight,
        bias if biased else None,
        groups=groups,
        activation=activation,
        residual=residual if added else None,
    )
    with torch.no_grad():
        expected = layer(x) + (residual if added else 0)
        expected = nn.GELU()(expected) if activation == "gelu" else expected
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_any_strides_and_no_pixels():
    x, weight, bias, residual = operands()
    expected = conv3x3(x, weight, bias, residual=residual)
    wide = torch.cat([residual, x], 1).contiguous(memory_format=torch.channels_last)
    actual = conv3x3(
        wide[:, 10:], weight, bias, residual=residual.contiguous(memory_format=torch.channels_last)
    )
    torch.testing.assert_close(actual, expected)
    assert conv3x3(x[:0], weight, bias).shape == (0, 10, 4, 5)


@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_gradients(activation):
    x, weight, bias, residual = operands(2, requires_grad=True, dtype=torch.float64)

    def convolve(x, weight, bias, residual):
        return conv3x3(x, weight, bias, groups=2, activation=activation, residual=residual)

    assert torch.autograd.gradcheck(convolve, (x, weight, bias, residual))


def test_the_operator_is_registered_as_pytorch_asks():
    operator = torch.ops.lic_fast.conv3x3.default
    x, weight, bias, residual = operands(2, requires_grad=True)
    torch.library.opcheck(operator, (x, weight, bias, 2, "gelu", residual))
    x, weight, _, _ = operands()
    x = x.contiguous(memory_format=torch.channels_last)
    torch.library.opcheck(operator, (x, weight, None, 1, "none", None))
    # Strides of a channels-last map can be read in two ways here.
    torch.library.opcheck(operator, (x[:, :1, :1, :1], weight[:1, :1], None, 1, "none", None))


def test_the_operator_s_gradients_are_those_of_the_definition():
    def gradients(function):
        values = operands(requires_grad=True)
        values[0].requires_grad_(False)
        out = function(*values)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        return [v.grad for v in values]

    def direct(x, weight, bias, residual):
        return conv3x3(x, weight, bias, activation="gelu", residual=residual)

    def operator(x, weight, bias, residual):
        return torch.ops.lic_fast.conv3x3(x, weight, bias, 1, "gelu", residual)

    expected, actual = gradients(direct), gradients(operator)
    assert actual[0] is None
    for a, e in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, e)


def test_torch_compile_traces_through():
    x, weight, bias, _ = operands()

    def block(x):
        return torch.ops.lic_fast.conv3x3(x * 2, weight, bias, 1, "gelu", None) + 1

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), block(x), rtol=0, atol=0)
    public = torch.compile(conv3x3, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(public(x, weight), conv3x3(x, weight), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types(name, dtype):
    x, weight, bias, residual = operands(dtype=dtype)
    with backend(name):
        assert conv3x3(x, weight, bias, residual=residual).dtype == dtype


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "relu"}, "none, gelu, not 'relu'"),
        ({"x": torch.zeros(6, 4, 5)}, "x must be"),
        ({"weight": torch.zeros(10, 6, 3, 1)}, "3, 3"),
        ({"weight": torch.zeros(0, 6, 3, 3)}, "3, 3"),
        ({"weight": torch.zeros(10, 5, 3, 3)}, "6 input and 10 output channels do not divide"),
        ({"groups": 3}, "do not divide into 3 groups"),
        ({"groups": 0}, "do not divide into 0 groups"),
        ({"groups": 2}, "groups of 6 input channels"),
        ({"bias": torch.zeros(9)}, r"bias must be \(10,\), not \(9,\)"),
        ({"residual": torch.zeros(2, 10, 4, 6)}, r"residual must be \(2, 10, 4, 5\)"),
    ],
)
def test_operands_that_do_not_fit_are_refused(changes, message):
    arguments = dict(zip(("x", "weight", "bias", "residual"), operands(), strict=True)) | changes
    with pytest.raises(ValueError, match=message):
        conv3x3(**arguments)


def test_types_that_do_not_fit_are_refused():
    x, weight, bias, _ = operands()
    with pytest.raises(TypeError, match=r"not torch\.float32, torch\.float64"):
        conv3x3(x, weight, bias.double())
    with pytest.raises(TypeError, match=r"one floating-point type, not torch\.int32"):
        conv3x3(x.int(), weight.int())
