"""Triton's interpreter for the tests of its kernels where there is no GPU; a thread per worker."""

import os
import sys

# Workers of pytest-xdist are as many as there are cores. OpenMP reads it when torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Triton decides when it is imported, and torch.compile and torchvision import it: it has to be
# told before the first test module is collected.
if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Workers are given whole files. Those that take minutes must not be the last, when the others have
# nothing left to do.
_FIRST = ["portability", "training", "models"]


def pytest_collection_modifyitems(items):
    def place(item):
        folder = item.nodeid.removeprefix("tests/").split("/")[0]
        return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)

    items.sort(key=place)
