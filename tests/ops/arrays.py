"""Maps as the extension's kernels take them, and what follows their products."""

import torch
import torch.nn.functional as F

ACTIVATIONS = ["none", "relu", "leaky_relu", "gelu"]


def array(x):
    """The tensor's memory; bfloat16, which NumPy has not, as its bits."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def activated(x, activation):
    return x if activation == "none" else getattr(F, activation)(x)
