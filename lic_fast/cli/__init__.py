"""The command line, ``lic-fast``.

Modules here import torch, and what needs torch, inside functions only, so that
``lic-fast --help`` and a mistyped option answer at once.
"""
