"""The integer layers' operators: their registration, and who calls them."""

from unittest import mock

import pytest
import torch

from lic_fast.ops import exact
from lic_fast.ops.exact_add_residual import exact_add_residual
from lic_fast.ops.exact_add_residual import reference as residual_reference
from lic_fast.ops.integer_layer import Quantizer, halves, integer_layer, reference

LAUNCHABLE = "lic_fast.ops.integer_layer.launchable"


def layer(bits=None, stride=1):
    """Arguments of the layer and those that it takes by name."""
    generator = torch.Generator().manual_seed(0)

    def integers(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    x = [integers(0, 128, 2, 6, 4, 5).to(torch.uint8) for _ in range(2)]
    weight = integers(-128, 128, 10, 3, 3, 3).to(torch.int8)
    sides = [-(-s // stride) for s in (4, 5)]
    steps = torch.rand(10, generator=generator) * 60
    return (x, weight, integers(-99, 99, 10).int(), torch.rand(10, generator=generator) * 1e-6), {
        "border": [integers(0, 128, 6).to(torch.uint8) for _ in range(2)],
        "stride": stride,
        "groups": 2,
        "activation": "gelu",
        "residual": torch.randn(2, 10, *sides, generator=generator),
        "output": bits and Quantizer(steps, integers(0, 2**bits, 10).int(), bits),
    }


def in_order(arguments, options):
    """What the operator takes."""
    output = options["output"] or (None, None, 0)
    named = [options[n] for n in ("border", "stride", "groups", "activation", "residual")]
    return (*arguments, *named, *output)


@pytest.mark.parametrize("bits", [None, 7, 14])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_layer_is_registered_as_pytorch_asks(bits, stride):
    arguments, options = layer(bits, stride)
    torch.library.opcheck(torch.ops.lic_fast.integer_layer.default, in_order(arguments, options))
    options["residual"] = None
    torch.library.opcheck(torch.ops.lic_fast.integer_layer.default, in_order(arguments, options))


@pytest.mark.parametrize("bits", [7, 14])
def test_quantisation_is_registered_as_pytorch_asks(bits):
    operator = torch.ops.lic_fast.quantize_activations.default
    x, step, zero = torch.randn(2, 3, 4, 5) * 50, torch.rand(3), torch.arange(3).int()
    torch.library.opcheck(operator, (x, step, zero, bits))
    torch.library.opcheck(operator, (x.permute(0, 1, 3, 2), step, zero, bits))


def test_the_residual_is_registered_as_pytorch_asks():
    x = torch.randn(2, 3, 4, 5)
    torch.library.opcheck(torch.ops.lic_fast.exact_add_residual.default, (x, x.flip(1)))


@pytest.mark.parametrize("bits", [None, 7, 14])
def test_what_can_be_launched_goes_to_the_operators(bits):
    arguments, options = layer(bits)
    expected = reference(*arguments, **options)
    # On the CPU the operators are the definition.
    with mock.patch(LAUNCHABLE, return_value=True) as launchable:
        actual = integer_layer(*arguments, **options)
        assert type(actual) is type(expected)
        pairs = [(actual, expected)] if bits is None else zip(actual, expected, strict=True)
        assert all(torch.equal(a, e) for a, e in pairs)
        asked = launchable.call_args_list[0].args
        tensors = [*arguments[0], *arguments[1:], *options["border"], options["residual"]]
        assert all(any(t is a for a in asked) for t in tensors)
        if bits:
            assert all(any(t is a for a in asked) for t in options["output"][:2])
            x = torch.randn(2, 10, 4, 5)
            quantizer = options["output"]
            expected = halves(exact.quantized(x, *quantizer), bits)
            for a, e in zip(quantizer(x), expected, strict=True):
                assert torch.equal(a, e)


def test_launched_layers_are_checked_first():
    arguments, options = layer()
    with mock.patch(LAUNCHABLE, return_value=True):
        with pytest.raises(ValueError, match="a border must be"):
            integer_layer(*arguments, **options | {"border": [torch.zeros(5).to(torch.uint8)] * 2})
        with pytest.raises(ValueError, match="x must be"):
            integer_layer(*arguments, **options | {"groups": 1})


@pytest.mark.parametrize(
    ("x", "step", "zero", "bits", "message"),
    [
        ((2, 3, 4), 3, 3, 7, "must be"),
        ((2, 3, 4, 5), 2, 3, 7, "must be"),
        ((2, 3, 4, 5), 3, 1, 7, "must be"),
        ((2, 3, 4, 5), 3, 3, 8, "7 or 14"),
    ],
)
def test_quantisation_refuses_what_it_would_read_out_of_bounds(x, step, zero, bits, message):
    with pytest.raises(ValueError, match=message):
        torch.ops.lic_fast.quantize_activations(
            torch.zeros(x), torch.ones(step), torch.zeros(zero).int(), bits
        )


def test_torch_compile_traces_through():
    arguments, options = layer(14)

    def block(*x):
        return torch.ops.lic_fast.integer_layer([*x], *in_order(arguments, options)[1:])[0] + 1

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*arguments[0]), block(*arguments[0]))


def test_the_residual_is_its_definition_and_refuses_other_operands():
    x, lrp = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5) * 3
    assert torch.equal(exact_add_residual(x, lrp), residual_reference(x, lrp))
    torch.testing.assert_close(exact_add_residual(x, lrp), x + 0.5 * lrp.tanh(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="one shape"):
        exact_add_residual(x, lrp[:1])
    with pytest.raises(TypeError, match="float32"):
        exact_add_residual(x, lrp.double())
