"""Triton's interpreter for the tests of its kernels where there is no GPU."""

import os
import sys

import torch

# Triton decides when it is imported, and torch.compile and torchvision import it: it has to be
# told before the first test module is collected.
if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ.setdefault("TRITON_INTERPRET", "1")
