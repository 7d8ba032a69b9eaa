"""Triton kernels, one operator per file: kernel, launcher, and what it computes.

Installed as ``lic_fast.kernels``. Only :mod:`lic_fast.ops` imports them, and only for operands on
a CUDA device.
"""
