"""The feed-forward operator's definition against torch.nn, and its registration."""

import pytest
import torch
from torch import nn

from lic_fast import backend
from lic_fast.ops import feed_forward
from lic_fast.ops.feed_forward import reference


def operands(requires_grad=False, dtype=torch.float32):
    torch.manual_seed(0)
    shapes = ((2, 3, 5, 12), (12,), (12,), (20, 12), (20,), (12, 20), (12,))
    return [torch.randn(s, dtype=dtype).requires_grad_(requires_grad) for s in shapes]


def modules(parameters, eps=1e-5):
    """The layers of a transformer block with these parameters."""
    norm, first, second = nn.LayerNorm(12, eps=eps), nn.Linear(12, 20), nn.Linear(20, 12)
    parameters = iter(parameters)
    for layer in (norm, first, second):
        layer.weight.data, layer.bias.data = next(parameters), next(parameters)
    return nn.Sequential(norm, first, nn.GELU(), second)


@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_is_the_layers_of_torch(eps):
    x, *parameters = operands()
    expected = x + modules(parameters, eps)(x)
    assert torch.equal(feed_forward(x, *parameters, eps=eps), expected)


def test_one_token_and_maps_of_other_strides():
    x, *parameters = operands()
    whole = feed_forward(x, *parameters)
    torch.testing.assert_close(feed_forward(x[0, 1, 2], *parameters), whole[0, 1, 2])
    across = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    out = feed_forward(across, *parameters)
    assert out.is_contiguous()
    torch.testing.assert_close(out, whole)
    assert feed_forward(x[:, :0], *parameters).shape == (2, 0, 5, 12)


def test_gradients():
    values = operands(requires_grad=True, dtype=torch.float64)
    assert torch.autograd.gradcheck(feed_forward, values)


def test_the_operator_is_registered_as_pytorch_asks():
    operator = torch.ops.lic_fast.feed_forward.default
    torch.library.opcheck(operator, (*operands(requires_grad=True), 1e-5))
    x, *parameters = operands()
    across = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    torch.library.opcheck(operator, (across, *parameters, 1e-5))


def test_the_operator_s_gradients_are_those_of_the_definition():
    def gradients(function):
        values = operands(requires_grad=True)
        values[2].requires_grad_(False)
        out = function(*values)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        return [v.grad for v in values]

    expected = gradients(feed_forward)
    actual = gradients(lambda *values: torch.ops.lic_fast.feed_forward(*values, 1e-5))
    assert actual[2] is None
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        if i != 2:
            torch.testing.assert_close(a, e)


def test_torch_compile_traces_through():
    values = operands()

    def block(x, *parameters):
        return torch.ops.lic_fast.feed_forward(x * 2, *parameters, 1e-5) + 1

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*values), block(*values), rtol=0, atol=0)
    public = torch.compile(feed_forward, fullgraph=True, backend="aot_eager")
    assert torch.equal(public(*values), feed_forward(*values))


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types(name, dtype):
    values = operands(dtype=dtype)
    with backend(name):
        assert feed_forward(*values).dtype == dtype


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: (2, 13)}, r"norm_weight must be \(13,\)"),
        ({0: ()}, r"x must be \(\.\.\., C\)"),
        ({1: (11,)}, r"norm_weight must be \(12,\)"),
        ({2: (1,)}, "norm_bias must be"),
        ({3: (20, 11)}, r"weight1 must be \(20, 12\) .* not \(20, 11\)"),
        ({3: (20,)}, r"weight1 \(F, C\)"),
        ({3: (0, 12)}, "neither C nor F zero"),
        ({4: (12,)}, r"bias1 must be \(20,\)"),
        ({5: (20, 12)}, r"weight2 must be \(12, 20\)"),
        ({6: (12, 1)}, r"bias2 must be \(12,\)"),
    ],
)
def test_operands_that_do_not_fit_are_refused(changes, message):
    values = operands()
    for i, shape in changes.items():
        values[i] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        feed_forward(*values)


def test_integers_are_refused():
    x, *parameters = operands()
    with pytest.raises(TypeError, match=r"floating-point type, not torch\.int32"):
        feed_forward(x.int(), *parameters)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("tokens", [(1,), (3, 700), (2, 90, 60)])
@torch.no_grad()
def test_parameters_take_the_type_of_the_tokens(dtype, tokens):
    torch.manual_seed(0)
    width, hidden = 48, 192
    x = torch.randn(*tokens, width).to(dtype)
    shapes = [(width,), (width,), (hidden, width), (hidden,), (width, hidden), (width,)]
    parameters = [torch.randn(shape) / shape[-1] ** 0.5 for shape in shapes]
    out = feed_forward(x, *parameters)
    expected = reference(x.double(), *(p.double() for p in parameters), 1e-5)
    assert out.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2.0**-6, torch.float64: 1e-5}[dtype]
    assert (out - expected).abs().max() <= tolerance * expected.abs().max()
