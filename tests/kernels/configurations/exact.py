"""What portable models compile of kernels/exact.py."""

from collections.abc import Iterator

from lic_fast.kernels import exact as kernels
from tests.kernels.configurations import Configuration


def configurations() -> Iterator[Configuration]:
    floats = dict.fromkeys(("x_ptr", "inverse_step_ptr"), "*fp32") | {"zero_ptr": "*i32"}
    halves = {"low_ptr": "*u8", "high_ptr": "*u8"}
    residual = dict.fromkeys(("quantized_ptr", "lrp_ptr", "out_ptr"), "*fp32")
    for name, kernel, types, absent in (
        ("7 bits", kernels.quantize_kernel, floats | halves, ["high_ptr"]),
        ("14 bits", kernels.quantize_kernel, floats | halves, []),
        ("strided", kernels.add_residual_kernel, residual, []),
    ):
        constants = {"BLOCK": kernels.BLOCK} | dict.fromkeys(absent)
        yield Configuration(
            f"exact {kernel.__name__} {name}",
            kernel,
            {n: types.get(n, "i32") for n in kernel.arg_names if n not in constants},
            constants,
            kernels.OPTIONS,
            exact=True,
        )
