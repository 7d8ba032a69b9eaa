"""What the models compile of kernels/slice_step.py."""

from collections.abc import Iterator

from lic_fast.kernels import slice_step as kernels
from tests.kernels.configurations import Configuration

SCALE_LEVELS = 64


def configurations() -> Iterator[Configuration]:
    thresholds, block = kernels.threshold_blocks(SCALE_LEVELS)
    float_ptr = dict.fromkeys(("y_ptr", "mean_ptr", "scale_ptr", "table_ptr"), "*fp32")
    indexes = {"indexes_ptr": "*u8", "THRESHOLDS": thresholds, "BLOCK": block}
    cases = []
    for symbols in ("*i16", "*i32"):
        coded = {"symbols_ptr": symbols, "y_hat_ptr": "*fp32", "peak_ptr": "*i32"}
        cases.append((kernels.quantize_kernel, float_ptr | coded | indexes))
        dequantized = {"symbols_ptr": symbols, "mean_ptr": "*fp32", "out_ptr": "*fp32"}
        cases.append((kernels.dequantize_kernel, dequantized | {"BLOCK": 512}))
    cases.append((kernels.scale_index_kernel, float_ptr | indexes))
    for dtype in ("*fp32", "*bf16", "*fp16"):
        pointers = dict.fromkeys(("quantized_ptr", "lrp_ptr", "out_ptr"), dtype)
        cases.append((kernels.add_residual_kernel, pointers | {"BLOCK": 512}))

    for kernel, known in cases:
        names = kernel.arg_names
        for layout in ("contiguous", "strided"):
            # One dimension after merging: the others have size 1.
            constants = {"size1": 1, "size2": 1} if layout == "contiguous" else {}
            constants |= {n: known[n] for n in names if n.isupper()}
            types = {n: known.get(n, "i32") for n in names if n not in constants}
            shown = " ".join(sorted({t[1:] for t in types.values() if t[0] == "*"}))
            yield Configuration(f"{kernel.__name__} {layout} {shown}", kernel, types, constants, {})
