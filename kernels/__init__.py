"""Triton kernels, one operator per file: kernel, launcher, and what it computes.

Installed as ``lic_fast.kernels``. Empty until the first fused operator lands:
every operator of :mod:`lic_fast.ops` runs on its plain PyTorch definition.
"""
