"""The machines that this one can stand for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from lic_fast import rans

# What a configuration sets, and what a process must not inherit.
VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "LIC_FAST_ISA",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TRITON_INTERPRET",
)


@dataclass(frozen=True)
class Configuration:
    """A process that encodes and decodes.

    Attributes:
        name: In test names and reports.
        onednn: The largest instruction set of oneDNN's, or None for the machine's.
        aten: That of PyTorch's own loops.
        lic_fast: That of lic_fast's extension.
        threads: Of all of them.
        backend: Of lic_fast's operators.
        precision: Of the transforms.
        device: "cpu" or "cuda".
        interpreted: Whether the entropy path runs on the kernels for GPUs, in Triton's
            interpreter. Tiny models only: it is slow.
    """

    name: str
    onednn: str | None = None
    aten: str | None = None
    lic_fast: str | None = None
    threads: int = 1
    backend: str = "auto"
    precision: str = "float32"
    device: str = "cpu"
    interpreted: bool = False

    def environment(self) -> dict[str, str]:
        """Environment variables of the process."""
        chosen = {
            "ONEDNN_MAX_CPU_ISA": self.onednn,
            "ATEN_CPU_CAPABILITY": self.aten,
            "LIC_FAST_ISA": self.lic_fast,
            "OMP_NUM_THREADS": str(self.threads),
            # Processes that share cores must not wait busily.
            "OMP_WAIT_POLICY": "PASSIVE",
            "TRITON_INTERPRET": "1" if self.interpreted else None,
        }
        kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        return kept | {name: value for name, value in chosen.items() if value is not None}


BASE = Configuration("this-machine", threads=2)


def _configurations() -> list[Configuration]:
    """Each axis by itself, and some corners. What this machine lacks is left out."""
    sets = rans.instruction_sets()
    oldest = {"onednn": "SSE41", "aten": "default", "lic_fast": "scalar"}
    made = []
    if torch.cuda.is_available():
        made.append(Configuration("cuda", device="cuda"))
        made.append(Configuration("cuda-reference", device="cuda", backend="reference"))
    elif find_spec("triton") and find_spec("lic_fast.kernels"):
        # First, since it takes longest and others run beside it.
        made.append(Configuration("kernels-interpreted", interpreted=True))
    made += [
        *(
            Configuration(f"onednn-{isa}", onednn=isa)
            for isa in ("SSE41", "AVX2", "AVX512_CORE", "AVX512_CORE_VNNI")
        ),
        # PyTorch takes its variable's word for it, and ends at the first missing instruction.
        *(
            Configuration(f"aten-{isa}", aten=isa)
            for isa in ("default", "avx2", "avx512")
            if isa in ("default", *sets)
        ),
        *(Configuration(f"lic-fast-{isa}", lic_fast=isa) for isa in sets),
        Configuration("one-thread"),
        Configuration("three-threads", threads=3),
        Configuration("bfloat16", precision="bfloat16"),
        Configuration("reference", backend="reference"),
        Configuration("oldest", **oldest),
        Configuration("oldest-three-threads", threads=3, **oldest),
        Configuration("oldest-reference", backend="reference", **oldest),
    ]
    if "avx2" in sets:
        old = {"onednn": "AVX2", "aten": "avx2", "lic_fast": "avx2"}
        made.append(Configuration("avx2-bfloat16", precision="bfloat16", **old))
    return made


CONFIGURATIONS = _configurations()
