"""The Triton kernels of window attention against the definition in float64."""

import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from lic_fast import backend
from lic_fast.kernels import window_attention as kernels
from lic_fast.ops import window_attention

# The name in the package is the function's.
operator = sys.modules["lic_fast.ops.window_attention"]

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
CASES = {
    "window": st.sampled_from([4, 8]),
    "batch": st.integers(1, 2),
    "sides": st.tuples(st.integers(1, 17), st.integers(1, 17)),
    "heads": st.integers(1, 3),
    "dim": st.sampled_from([3, 8, 16, 24, 32, 40, 64]),
    "shift": st.integers(0, 7),
    "mask_value": st.sampled_from([-100.0, -1.5, float("-inf")]),
    "padded": st.booleans(),
    "dtype": st.sampled_from(DTYPES),
    "blocks": st.sampled_from([None, 1, 2, 5]),
    "spread": st.sampled_from([0.1, 1.0, 4.0]),
    "seed": st.integers(0, 2**31),
}
# The device is the same for all examples.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Operands:
    """Random operands of one case, and the definition's results for them in float64."""

    def __init__(self, device, case):
        self.device, self.dtype = device, case["dtype"]
        self.window, heads, dim = case["window"], case["heads"], case["dim"]
        generator = torch.Generator().manual_seed(case["seed"])

        def normal(*shape):
            return torch.randn(*shape, generator=generator)

        shape = (case["batch"], *case["sides"])
        self.qkv = (normal(*shape, 3 * heads * dim) * case["spread"]).to(device, self.dtype)
        # As TCM stores it, in half of the cases: positions last.
        table = normal(heads, (2 * self.window - 1) ** 2).T
        self.table = (table if case["seed"] % 2 else table.contiguous()).to(device)
        self.pad = normal(3 * heads * dim).to(device) if case["padded"] else None
        self.grad = normal(*shape, heads * dim).to(device, self.dtype)
        shift, scale = case["shift"] % self.window, dim**-0.5
        self.numbers = (self.window, shift, case["mask_value"], scale)
        self.blocks = case["blocks"]

    @property
    def tensors(self):
        return self.qkv, self.table, self.pad

    def poisoned(self, like):
        return torch.full_like(like, float("nan"))

    def exact(self):
        """Result, and gradients by autograd, of the definition."""
        # The kernels take the padding value in the type of qkv.
        pad = None if self.pad is None else self.pad.to(self.dtype)
        tensors = [
            None if x is None else x.double().requires_grad_() for x in (self.qkv, self.table, pad)
        ]
        out = operator.reference(*tensors, *self.numbers)
        wanted = [x for x in tensors if x is not None]
        found = iter(torch.autograd.grad(out, wanted, self.grad.double(), allow_unused=True))
        grads = [
            None if x is None else torch.zeros_like(x) if (grad := next(found)) is None else grad
            for x in tensors
        ]
        return out.detach(), grads

    def largest(self):
        """Largest magnitude of a query, key or value."""
        return max(float(x.abs().max()) for x in (self.qkv, self.pad) if x is not None)

    def float32_noise(self):
        """Relative error of the weights: float32's of logits of this magnitude."""
        dim = self.qkv.shape[3] // 3 // self.table.shape[1]
        return 2.0**-22 * max(1.0, self.largest() ** 2 * dim**0.5)

    def check_forward(self, actual):
        expected, _ = self.exact()
        # Weights and result are rounded to the type, the interpreter's bfloat16 towards zero.
        eps = torch.finfo(self.dtype).eps
        tolerance = (2 * eps + self.float32_noise()) * self.largest()
        assert actual.dtype == self.dtype
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance)

    def check_backward(self, actual):
        _, expected = self.exact()
        tokens = self.window**2
        for x, exact, dtype in zip(
            actual, expected, (self.dtype, torch.float32, torch.float32), strict=True
        ):
            if exact is None:
                assert x is None
                continue
            assert x.shape == exact.shape
            # Weights and their gradients are rounded once before they are multiplied, and then
            # the result is; what is far below the other operands has the noise of their sum.
            noise = self.float32_noise() * tokens * float(self.grad.abs().max()) * self.largest()
            largest = max(float(exact.abs().max()), 1.0 if dtype == self.dtype else 0.0)
            eps = torch.finfo(self.dtype).eps
            tolerance = 4 * eps * largest + noise * max(1.0, self.largest())
            torch.testing.assert_close(x.double(), exact, rtol=0, atol=tolerance)


@settings(relaxed, max_examples=60)
@given(case=st.fixed_dictionaries(CASES))
def test_forward_is_the_definition(device, case):
    operands = Operands(device, case)
    out = operands.poisoned(operands.grad)
    actual = kernels.forward(
        *operands.tensors, *operands.numbers, out=out, blocks_per_program=operands.blocks
    )
    assert actual is out
    operands.check_forward(actual)


@settings(relaxed, max_examples=60)
@given(case=st.fixed_dictionaries(CASES))
def test_gradients_are_those_of_the_definition(device, case):
    operands = Operands(device, case)
    out = operands.poisoned(operands.qkv)
    actual = kernels.backward(
        operands.grad,
        *operands.tensors,
        *operands.numbers,
        out=out,
        blocks_per_program=operands.blocks,
    )
    assert actual[0] is out
    operands.check_backward(actual)


def a_case(**changes):
    case = {
        "window": 8,
        "batch": 2,
        "sides": (16, 21),
        "heads": 2,
        "dim": 8,
        "shift": 4,
        "mask_value": float("-inf"),
        "padded": True,
        "dtype": torch.float32,
        "blocks": None,
        "seed": 3,
        "spread": 1.0,
    }
    return case | changes


@pytest.mark.parametrize("window", [4, 8])
def test_the_result_does_not_depend_on_runs_or_the_batch(device, window):
    operands = Operands(device, a_case(window=window, shift=2, dtype=torch.float16))
    whole = kernels.forward(*operands.tensors, *operands.numbers, blocks_per_program=1)
    longer = kernels.forward(*operands.tensors, *operands.numbers, blocks_per_program=7)
    assert torch.equal(whole, longer)
    one = kernels.forward(operands.qkv[1:], *operands.tensors[1:], *operands.numbers)
    assert torch.equal(one[0], whole[1])


def test_gradients_are_the_same_in_every_run(device):
    operands = Operands(device, a_case(window=4, shift=2))
    arguments = (operands.grad, *operands.tensors, *operands.numbers)
    for a, b in zip(kernels.backward(*arguments), kernels.backward(*arguments), strict=True):
        assert torch.equal(a, b)


def test_operands_of_any_strides(device):
    operands = Operands(device, a_case(sides=(8, 12), window=4, shift=1))
    expected = kernels.forward(*operands.tensors, *operands.numbers)
    expected_grads = kernels.backward(operands.grad, *operands.tensors, *operands.numbers)
    operands.qkv = operands.qkv.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    operands.grad = operands.grad.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not operands.qkv.is_contiguous()
    assert torch.equal(kernels.forward(*operands.tensors, *operands.numbers), expected)
    grads = kernels.backward(operands.grad, *operands.tensors, *operands.numbers)
    assert torch.equal(grads[0], expected_grads[0])
    assert torch.equal(grads[1], expected_grads[1])


def test_gradients_that_nobody_wants(device):
    operands = Operands(device, a_case())
    arguments = (operands.grad, *operands.tensors, *operands.numbers)
    grad, *others = kernels.backward(*arguments, needs_bias=False, needs_pad=False)
    assert others == [None, None]
    assert torch.equal(grad, kernels.backward(*arguments)[0])


def test_no_images(device):
    operands = Operands(device, a_case())
    tensors = (operands.qkv[:0], operands.table, operands.pad)
    assert kernels.forward(*tensors, *operands.numbers).shape == (0, 16, 21, 16)
    grads = kernels.backward(operands.grad[:0], *tensors, *operands.numbers)
    assert [tuple(x.shape) for x in grads] == [(0, 16, 21, 48), (225, 2), (48,)]
    assert not grads[1].any()
    assert not grads[2].any()


@pytest.mark.filterwarnings("ignore:::triton.runtime.interpreter")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so_and_in_its_window(device, value):
    qkv = torch.randn(1, 8, 8, 3 * 16)
    qkv[0, 1, 2, 5] = value  # a query
    qkv[0, 6, 6, 2 * 16 + 3] = value  # a value
    table = torch.zeros(49, 1, device=device)
    out = kernels.forward(qkv.to(device), table, None, 4, 0, -100.0, 0.25)
    assert not out[0, 1, 2].isfinite().any()
    assert not out[0, 4:, 4:, 3].isfinite().any()
    assert out[0, :4, 4:].isfinite().all()
    assert out[0, 4:, :4].isfinite().all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"window_size": 5}, ValueError, "windows of 5"),
        ({"shift": 4}, ValueError, "shifted by 4"),
        ({"shift": -1}, ValueError, "shifted by -1"),
        ({"bias_table": torch.zeros(48, 2)}, ValueError, "bias table of 48"),
        ({"qkv": torch.zeros(1, 4, 4, 50)}, ValueError, "50 channels"),
        ({"qkv": torch.zeros(1, 4, 4, 3 * 65 * 2)}, ValueError, "390 channels"),
        ({"qkv": torch.zeros(1, 4, 4, 48, dtype=torch.float64)}, TypeError, "float64"),
        ({"pad_value": torch.zeros(47)}, ValueError, "pad_value must be"),
    ],
)
def test_operands_that_do_not_fit_are_refused(changes, error, message):
    arguments = {
        "qkv": torch.zeros(1, 4, 4, 48),
        "bias_table": torch.zeros(49, 2),
        "pad_value": None,
        "window_size": 4,
        "shift": 0,
        "mask_value": 0.0,
        "scale": 1.0,
    } | changes
    with pytest.raises(error, match=message):
        kernels.forward(**arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mask", [[True, True, True], [True, False, True], [False, True, False]])
def test_the_operators_of_a_gpu(device, monkeypatch, dtype, mask):
    """What is registered for GPUs, here also with the interpreter's tensors."""
    if device.type == "cpu":
        monkeypatch.setattr(operator, "_triton_kernels", lambda device: kernels)
    operands = Operands(device, a_case(dtype=dtype, sides=(11, 8)))
    operands.check_forward(operator._forward_on_gpu(*operands.tensors, *operands.numbers))
    arguments = (operands.grad, *operands.tensors, *operands.numbers, mask)
    found = operator._backward_on_gpu(*arguments)
    for x, operand, wanted in zip(found, operands.tensors, mask, strict=True):
        if wanted:
            assert (x.shape, x.dtype) == (operand.shape, operand.dtype)
            assert x.is_contiguous()
        else:
            assert x.numel() == 0
    if all(mask):
        operands.check_backward(found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_kernels_the_definition_serves(device, monkeypatch, dtype):
    monkeypatch.setattr(operator, "_triton_kernels", lambda device: None)
    operands = Operands(device, a_case(sides=(8, 9), dtype=dtype))
    with backend("reference"):
        tensors = operator._of_one_dtype(*operands.tensors)
        expected = operator.reference(*tensors, *operands.numbers)
    actual = operator._forward_on_gpu(*operands.tensors, *operands.numbers)
    assert torch.equal(actual, expected)
    mask = [True, True, True]
    found = operator._backward_on_gpu(operands.grad, *operands.tensors, *operands.numbers, mask)
    assert [x.dtype for x in found] == [dtype, torch.float32, torch.float32]
    assert all(x.isfinite().all() for x in found)


@pytest.mark.parametrize(
    ("dtype", "window", "dim", "fused"),
    [
        (torch.float32, 4, 16, True),
        (torch.bfloat16, 8, 40, True),
        (torch.float16, 8, 64, True),
        (torch.float64, 8, 16, False),
        (torch.float32, 2, 16, False),
        (torch.float32, 8, 65, False),
    ],
)
def test_what_goes_to_the_kernels(monkeypatch, dtype, window, dim, fused):
    """On a GPU, which no fake tensor needs."""
    with FakeTensorMode():
        qkv = torch.empty(1, 8, 8, 6 * dim, dtype=dtype, device="cuda")
        table = torch.empty((2 * window - 1) ** 2, 2, dtype=dtype, device="cuda")
        assert operator._fusible(qkv, table, window) is fused


def test_the_operator_and_the_kernels_agree_on_what_is_fusible():
    assert operator._GPU_WINDOWS == kernels.WINDOWS
    assert operator._GPU_DTYPES == kernels.DTYPES
    assert operator._LARGEST_GPU_HEAD == kernels.LARGEST_HEAD


@pytest.mark.parametrize("allowed", [False, True])
def test_products_of_float32_are_exact_unless_pytorch_says_otherwise(allowed):
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    try:
        matmul.allow_tf32 = allowed
        chosen = [kernels.options(x, 16, 4, backward=False)["PRECISION"] for x in DTYPES]
    finally:
        matmul.allow_tf32 = before
    assert chosen == ["tf32" if allowed else "ieee", "ieee", "ieee"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="dispatches on the device")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compiled", [False, True])
def test_the_public_operator_on_a_gpu(device, dtype, compiled):
    operands = Operands(device, a_case(dtype=dtype))
    tensors = [x.detach().requires_grad_() for x in operands.tensors]
    window, shift, mask_value, scale = operands.numbers

    def attend(qkv, table, pad):
        return window_attention(
            qkv,
            table,
            window_size=window,
            shift=shift,
            mask_value=mask_value,
            pad_value=pad,
            scale=scale,
        )

    if compiled:
        attend = torch.compile(attend, fullgraph=True, backend="aot_eager")
    out = attend(*tensors)
    operands.check_forward(out.detach())
    operands.check_backward(torch.autograd.grad(out, tensors, operands.grad))
