"""How STF's token maps change their resolution: patch embedding, merging, splitting.

Liu et al., "Swin Transformer", ICCV 2021, section 3.1, and Zou, Song and Zhang, CVPR 2022,
figure 6. Feature maps are (B, H, W, C).
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PatchEmbed", "PatchMerging", "PatchSplit"]


class PatchEmbed(nn.Module):
    """Pixels (B, 3, H, W) to one token per patch, (B, H/p, W/p, C)."""

    def __init__(
        self,
        patch_size: int,
        in_chans: int,
        dim: int,
        norm_layer: Callable[[int], nn.Module] | None,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, kernel_size=patch_size, stride=patch_size)
        self.norm = None if norm_layer is None else norm_layer(dim)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.proj(x).permute(0, 2, 3, 1).contiguous()
        return x if self.norm is None else self.norm(x)


class PatchMerging(nn.Module):
    """(B, H, W, C) to (B, H/2, W/2, 2C): 2x2 tokens side by side, normalised, projected."""

    def __init__(self, dim: int, norm_layer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm = norm_layer(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        batch, height, width, channels = x.shape
        corners = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
        # (0, 0), (1, 0), (0, 1), (1, 1)
        corners = corners.permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(self.norm(corners))


class PatchSplit(nn.Module):
    """(B, H, W, C) to (B, 2H, 2W, C/2): normalised, projected, shuffled to 2x2 tokens."""

    def __init__(self, dim: int, norm_layer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm = norm_layer(dim)
        self.reduction = nn.Linear(dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.reduction(self.norm(x)).permute(0, 3, 1, 2)
        return F.pixel_shuffle(x, 2).permute(0, 2, 3, 1).contiguous()
