"""Triton kernels, one operator per file: kernel, launcher, and what it computes.

Installed as ``lic_fast.kernels``. Importing a module of it imports Triton, so :mod:`lic_fast.ops`
does that only once an operand is on a GPU.
"""
