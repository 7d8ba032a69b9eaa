"""A convolution with a skip around it, beside the definition in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lic_fast
from lic_fast import ops
from lic_fast.ops.skipped_conv2d import reference

PRECISION = {torch.float32: 2.0**-16, torch.bfloat16: 2.0**-6}


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(list(PRECISION)),
    batch=st.integers(1, 2),
    inputs=st.sampled_from([3, 16, 64]),
    outputs=st.sampled_from([1, 5, 32, 64]),
    sides=st.tuples(st.integers(1, 20), st.integers(1, 40)),
    kernel=st.sampled_from([1, 3]),
    activation=st.sampled_from(["none", "relu", "leaky_relu", "gelu"]),
    factor=st.sampled_from([1.0, 2.0, -0.5]),
    into=st.sampled_from(["new", "half", "planes"]),
    backend=st.sampled_from(["auto", "reference"]),
    seed=st.integers(0, 2**31),
)
@torch.no_grad()
def test_it_is_the_definition(
    dtype, batch, inputs, outputs, sides, kernel, activation, factor, into, backend, seed
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    def maps(channels):
        last = torch.channels_last
        return normal(batch, channels, *sides).to(dtype).contiguous(memory_format=last)

    x, skip, bias = maps(inputs), maps(outputs), normal(outputs)
    weight = normal(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
    weight = weight.bfloat16().float()
    out = None
    if into == "half":
        out = torch.full((batch, *sides, 2 * outputs), float("nan"), dtype=dtype)
        out = out[..., outputs:].permute(0, 3, 1, 2)
    elif into == "planes":
        out = torch.full((batch, outputs, *sides), float("nan"), dtype=dtype)
    before, kept = x.clone(), skip.clone()
    form = {"padding": (kernel // 2, kernel // 2), "activation": activation, "factor": factor}
    with lic_fast.backend(backend):
        found = ops.skipped_conv2d(x, weight, bias, skip, **form, out=out)
    assert out is None or found is out
    expected = reference(x.double(), weight, bias, skip.double(), **form)
    limit = PRECISION[dtype] * max(1.0, expected.abs().max().item(), skip.abs().max().item())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=limit)
    assert found.dtype == dtype
    assert torch.equal(x, before)
    assert torch.equal(skip, kept)


def test_gradients_are_those_of_the_definition():
    operands = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 3, 5, 4), (6, 3, 3, 3), (6,), (2, 6, 5, 4))
    ]
    form = {"padding": (1, 1), "activation": "gelu", "factor": 2.0}
    assert torch.autograd.gradcheck(lambda *given: ops.skipped_conv2d(*given, **form), operands)


@pytest.mark.parametrize("dtype", PRECISION)
@torch.no_grad()
def test_what_does_not_fit_is_refused(dtype):
    x, weight = torch.zeros(1, 32, 8, 8, dtype=dtype), torch.zeros(32, 32, 3, 3)
    form = {"padding": (1, 1)}
    for factor in (0.0, -1e-46):
        with pytest.raises(ValueError, match="factor of the skip must not be 0"):
            ops.skipped_conv2d(x, weight, None, x, **form, factor=factor)
    for other in (x[..., :7], x[:, :31], x.double()):
        with pytest.raises(ValueError, match="skip and out must be"):
            ops.skipped_conv2d(x, weight, None, other, **form)
        with pytest.raises(ValueError, match="skip and out must be"):
            ops.skipped_conv2d(x, weight, None, x, **form, out=other)
