"""Builds ``lic_fast._C``; everything else is declared in pyproject.toml."""

import hashlib
import os
import sys
from glob import glob
from pathlib import Path

import pybind11
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

# No -march=native and no torch: one wheel serves every torch version and every
# CPU of its architecture. Instruction sets are chosen at run time.
FLAGS = (
    ["/O2"]
    if sys.platform == "win32"
    else ["-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra", "-MMD"]
)


def needs_recompile(made: str, source: str) -> bool:
    """Whether the object file `made` is older than what the compiler read for it."""
    listed = Path(made).with_suffix(".d")
    if not Path(made).exists() or not listed.exists():
        return True
    # "made: source header ..."; what is not of this project goes into the folder's name.
    read = listed.read_text().partition(":")[2].replace("\\\n", " ").split()
    own = [Path("setup.py"), Path(source), *(Path(name) for name in read if "csrc/" in name)]
    return any(not f.exists() or f.stat().st_mtime > Path(made).stat().st_mtime for f in own)


class BuildExtension(build_ext):
    """Keeps object files, so that a change costs what depends on it and a wheel costs nothing."""

    def build_extensions(self) -> None:
        """Compiles into one folder for each compiler's settings, instead of a temporary one."""
        variables = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS")
        said = [sys.version, pybind11.__version__, *map(os.environ.get, variables)]
        name = hashlib.sha256(repr(said).encode()).hexdigest()[:16]
        self.build_temp = os.path.join("build", "objects", name)
        super().build_extensions()


ParallelCompile("LIC_FAST_BUILD_JOBS", default=0, needs_recompile=needs_recompile).install()

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
    cmdclass={"build_ext": BuildExtension},
)
