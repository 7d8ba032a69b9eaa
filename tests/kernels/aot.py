"""Compiles every Triton kernel ahead of time for GPUs that need not be here.

``python -m tests.kernels.aot`` prints registers, spilled registers and shared memory of each
configuration of :mod:`tests.kernels.configurations` on each target, and fails if one does not
compile, spills, wants more shared memory than a program can have there, or fuses a product with a
sum where the result must be the same on every machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tests.kernels.configurations import KERNELS, Configuration

# Target: what Triton calls it, and the bytes of shared memory that one program can have (CUDA C++
# Programming Guide, table "Technical Specifications per Compute Capability"; AMD CDNA3 ISA).
TARGETS = {
    "sm_80": (("cuda", 80, 32), 163 << 10),
    "sm_90": (("cuda", 90, 32), 227 << 10),
    "gfx942": (("hip", "gfx942", 64), 64 << 10),
}

# Two steps of Newton's method and the remainder, on AMD; one instruction more, v_div_fmas, is not
# counted among them. The quotient is rounded correctly.
FUSED_IN_DIVISION = 5


@dataclass(frozen=True)
class Usage:
    """What a compiled kernel takes.

    Attributes:
        registers: Of a thread; on AMD vector registers.
        spills: What does not fit there, in bytes on NVIDIA, in vector registers and
            bytes of scratch memory on AMD.
        shared: Bytes of shared memory of a program.
        fused: Products that are not rounded before they are added, see :func:`fused`.
    """

    registers: int
    spills: int
    shared: int
    fused: int

    def problems(self, target: str, exact: bool = False) -> list[str]:
        """Why the kernel must not run so on `target`."""
        limit = TARGETS[target][1]
        found = []
        if self.spills:
            found.append("spills")
        if self.shared > limit:
            found.append(f"more than {limit} bytes of shared memory")
        if exact and self.fused:
            found.append(f"fuses {self.fused} products with sums")
        return found


def compile_for(configuration: Configuration, target: str) -> Usage:
    """Compiles for `target` and reads what the kernel takes from the assembler's report."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel, constants = configuration.kernel, configuration.constants
    signature = {
        argument: "constexpr" if argument in constants else configuration.types[argument]
        for argument in kernel.arg_names
    }
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, argument in enumerate(kernel.arg_names)
        if signature[argument].startswith("*")
    }
    compiled = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned),
        target=GPUTarget(*TARGETS[target][0]),
        options=dict(configuration.options),
    )
    if "ptx" in compiled.asm:
        return usage_on_nvidia(compiled)
    return usage_on_amd(compiled)


def usage_on_nvidia(compiled: Any) -> Usage:
    """From cuobjdump: Triton asks the driver, of which there is none. Spills are on the stack."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    registers, stack = match(r"REG:(\d+) STACK:(\d+)", report)
    return Usage(int(registers), int(stack), compiled.metadata.shared, fused(compiled))


def usage_on_amd(compiled: Any) -> Usage:
    """From the metadata in the assembly; Triton adds shared memory at the launch."""
    assembly = compiled.asm["amdgcn"]

    def entry(name: str) -> int:
        (number,) = match(rf"^\s*(?:- )?\.{name}:\s+(\d+)$", assembly)
        return int(number)

    return Usage(
        entry("vgpr_count"),
        # Scalar registers spill into lanes of vector registers, unless the compiler says otherwise
        # by asking for scratch memory.
        entry("vgpr_spill_count") + entry("private_segment_fixed_size"),
        max(compiled.metadata.shared, entry("group_segment_fixed_size")),
        fused(compiled),
    )


def fused(compiled: Any) -> int:
    """Fused multiply-adds in the assembly, but those that a division is made of.

    In PTX also the products without a rounding of their own: its assembler may fuse ``mul``, but
    not ``mul.rn`` (PTX ISA, "Floating Point Instructions: mul").
    """
    if "ptx" in compiled.asm:
        return len(re.findall(r"\b(?:(?:fma|mad)(?:\.\w+)*|mul)\.f\d", compiled.asm["ptx"]))
    assembly = compiled.asm["amdgcn"]
    every = len(re.findall(r"\bv_(?:pk_)?(?:fma|mac|mad)\w*_f\d", assembly))
    return every - FUSED_IN_DIVISION * len(re.findall(r"\bv_div_fixup_f32", assembly))


def match(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {pattern!r} in what the compiler says")
    return found.groups()


def all_configurations() -> Iterator[Configuration]:
    for name in KERNELS:
        yield from import_module(f"tests.kernels.configurations.{name}").configurations()


# Kernels cannot be sent to another process, so each finds them by their number.
def work(number_and_target: tuple[int, str]) -> Usage | str:
    number, target = number_and_target
    configuration = list(all_configurations())[number]
    try:
        return compile_for(configuration, target)
    except Exception as error:  # of whatever kind: it is reported, and fails the check
        return f"does not compile: {type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the name of the configurations")
    parser.add_argument("--target", choices=TARGETS, action="append", help="one target, or more")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    # Read by Triton when it is imported, by the workers too.
    os.environ.pop("TRITON_INTERPRET", None)
    configurations = list(all_configurations())
    names = [configuration.name for configuration in configurations]
    chosen = [i for i, name in enumerate(names) if arguments.only in name]
    if not chosen:
        parser.error(f"no configuration has {arguments.only!r} in its name")

    started = time.monotonic()
    jobs = [(i, target) for i in chosen for target in arguments.target or TARGETS]
    failures = 0
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRITON_CACHE_DIR"] = cache
        with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
            print("| kernel | target | registers | spills | shared |")
            print("|---|---|---|---|---|")
            for (i, target), usage in zip(jobs, pool.imap(work, jobs, chunksize=1), strict=True):
                if isinstance(usage, str):
                    problems = [usage]
                    print(f"| {names[i]} | {target} | – | – | – |", flush=True)
                else:
                    problems = usage.problems(target, configurations[i].exact)
                    numbers = f"{usage.registers} | {usage.spills} | {usage.shared}"
                    print(f"| {names[i]} | {target} | {numbers} |", flush=True)
                if problems:
                    failures += 1
                    print(f"{names[i]} on {target}: {', '.join(problems)}", file=sys.stderr)
    seconds = time.monotonic() - started
    print(f"{len(jobs)} compilations in {seconds:.0f} s, {failures} refused", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
