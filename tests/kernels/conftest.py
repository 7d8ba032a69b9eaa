"""The device on which kernels are tested: a GPU, or the CPU through Triton's interpreter."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter

interpreted = triton.knobs.runtime.interpret


@pytest.fixture(scope="session")
def device():
    if torch.cuda.is_available() and not interpreted:
        return torch.device("cuda")
    # Not skipped: in silence nothing at all would be tested.
    assert interpreted, "without a GPU, kernels need TRITON_INTERPRET=1 before Triton is imported"
    return torch.device("cpu")


def _float32(operand):
    """An operand of a product as numbers: the interpreter keeps bfloat16 as its bits."""
    if operand.dtype.scalar == tl.bfloat16:
        return (operand.data.astype(np.uint32) << 16).view(np.float32)
    return operand.data.astype(np.float32)


def _create_dot(self, a, b, accumulator, input_precision, max_num_imprecise_acc):
    """Products as on a GPU, in float32; the interpreter's own multiplies bfloat16's bits."""
    product = np.matmul(_float32(a), _float32(b), dtype=np.float32)
    return interpreter.TensorHandle(product + accumulator.data, accumulator.dtype.scalar)


@pytest.fixture(scope="session", autouse=True)
def _products_of_bfloat16():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.InterpreterBuilder, "create_dot", _create_dot)
        yield
