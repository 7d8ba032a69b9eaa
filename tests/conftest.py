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
