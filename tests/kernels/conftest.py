"""The device on which kernels are tested: a GPU, or the CPU through Triton's interpreter."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

# Triton is for Linux only.
collect_ignore_glob = [] if find_spec("triton") else ["test_*.py"]


@pytest.fixture(scope="session")
def device():
    import triton

    interpreted = triton.knobs.runtime.interpret
    if torch.cuda.is_available() and not interpreted:
        return torch.device("cuda")
    # Not skipped: in silence nothing at all would be tested.
    assert interpreted, "without a GPU, kernels need TRITON_INTERPRET=1 before Triton is imported"
    return torch.device("cpu")


def _numbers(operand):
    """An operand of a product in float32: the interpreter keeps bfloat16 as its bits."""
    if str(operand.dtype.scalar) == "bf16":
        return (operand.data.astype(np.uint32) << 16).view(np.float32)
    return operand.data.astype(np.float32)


@pytest.fixture(scope="session", autouse=True)
def _products_of_bfloat16():
    """Products as on a GPU, in float32; the interpreter's own multiplies bfloat16's bits."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    own = InterpreterBuilder.create_dot

    def create_dot(self, a, b, accumulator, input_precision, max_num_imprecise_acc):
        if accumulator.dtype.scalar.is_int():
            return own(self, a, b, accumulator, input_precision, max_num_imprecise_acc)
        product = np.matmul(_numbers(a), _numbers(b), dtype=np.float32)
        return TensorHandle(product + accumulator.data, accumulator.dtype.scalar)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpreterBuilder, "create_dot", create_dot)
        yield
