"""What every Triton kernel is compiled for ahead of time, by :mod:`tests.kernels.aot`.

Each module named in :data:`KERNELS` has a function ``configurations()`` that yields a
:class:`Configuration` for every choice of types and compile-time arguments that the models use.
It asks the kernel's launcher for the compile-time arguments, so that what is compiled here is
what is launched. To add a kernel, add a module here and its name to the list.
"""

from dataclasses import dataclass
from typing import Any

KERNELS = (
    "conv3x3",
    "exact",
    "feed_forward",
    "integer_conv2d",
    "slice_step",
    "window_attention",
)

# Triton's names.
TYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class Configuration:
    """One kernel as one of its launchers would compile it.

    Attributes:
        name: For the table.
        kernel: The function that ``triton.jit`` made.
        types: Triton's name of the type of every argument that is not a compile-time
            argument, such as ``*bf16`` or ``i32``. Pointers are taken to be aligned to 16 bytes.
        constants: Compile-time arguments; None for a tensor that is not there.
        options: ``num_warps``, ``num_stages`` and whatever else the launch is given.
        exact: Whether every product must be rounded before it is added to anything.
    """

    name: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    options: dict[str, Any]
    exact: bool = False
