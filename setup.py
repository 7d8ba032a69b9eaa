"""Builds ``lic_fast._C``; everything else is declared in pyproject.toml."""

import sys
from glob import glob

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

# No -march=native and no torch: one wheel serves every torch version and every
# CPU of its architecture. Instruction sets are chosen at run time.
FLAGS = (
    ["/O2"]
    if sys.platform == "win32"
    else ["-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]
)

ParallelCompile("LIC_FAST_BUILD_JOBS", default=0).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "lic_fast._C",
            sorted(glob("csrc/**/*.cpp", recursive=True)),
            include_dirs=["csrc"],
            depends=[
                *glob("csrc/**/*.hpp", recursive=True),
                *glob("csrc/**/*.inl", recursive=True),
            ],
            cxx_std=17,
            extra_compile_args=FLAGS,
        )
    ],
    cmdclass={"build_ext": build_ext},
)
