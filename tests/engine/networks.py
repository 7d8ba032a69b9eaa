"""Small networks of what models are made of."""

import torch
from compressai.layers import (
    GDN,
    AttentionBlock,
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualBlockWithStride,
)
from torch import nn
from torchvision.ops import StochasticDepth

from lic_fast import engine
from lic_fast.models.layers import WindowAttention
from lic_fast.models.stf_resampling import PatchMerging, PatchSplit
from lic_fast.models.tcm import WMSA


@engine.traces
class Tokens(nn.Module):
    """Transformer blocks on (B, H, W, C), between convolutions."""

    def __init__(self, channels, heads, window, shift, merge=None, whole=False):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        if whole:
            self.attn = WMSA(channels, channels // heads, window, shift > 0)
            self.attn.embedding_layer = nn.Linear(channels, 3 * channels)
            self.attn.linear = nn.Linear(channels, channels)
        else:
            self.attn = WindowAttention(channels, window, heads, shift)
            self.attn.qkv = nn.Linear(channels, 3 * channels)
            self.attn.proj = nn.Linear(channels, channels)
        self.drop_path = StochasticDepth(0.1, "row")
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 3 * channels),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(3 * channels, channels),
        )
        self.resample = nn.Identity() if merge is None else merge(channels, nn.LayerNorm)
        if merge is not None:
            wide = self.resample.reduction
            self.resample.reduction = nn.Linear(wide.in_features, wide.out_features, bias=False)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return self.resample(x).permute(0, 3, 1, 2)


@engine.traces
class Halves(nn.Module):
    """Channels in two parts, with two skips around one another."""

    def __init__(self, channels):
        super().__init__()
        self.before = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.block = ResidualBlock(channels, channels)
        self.tokens = Tokens(channels, 2, 4, 2, whole=True)
        self.after = nn.Conv2d(2 * channels, 2 * channels, 1)

    def forward(self, x):
        a, b = self.before(x).chunk(2, 1)
        a = self.block(a) + a
        return x + self.after(torch.cat([a, self.tokens(b)], 1))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2),
        GDN(8),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.GELU(),
        nn.ConvTranspose2d(8, 6, 5, 2, 2, 1),
        GDN(6, inverse=True),
        nn.Conv2d(6, 24, 3, padding=1),
        nn.PixelShuffle(2),
        nn.LeakyReLU(inplace=True),
        nn.Conv2d(6, 3, 3, padding=1, bias=False),
    )


def residual_blocks():
    return nn.Sequential(
        ResidualBlockWithStride(3, 8),
        ResidualBlock(8, 8),
        AttentionBlock(8),
        ResidualBlockUpsample(8, 6),
        nn.Sigmoid(),
    )


def transformer():
    return nn.Sequential(
        nn.Conv2d(3, 8, 2, 2),
        Tokens(8, 2, 4, 0, PatchMerging),
        Tokens(16, 4, 4, 2, PatchSplit),
        nn.Conv2d(8, 3, 3, padding=1),
    )


def mixed():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        Halves(8),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 3, 4, 2, 1),
    )


NETWORKS = {f.__name__: f for f in (convolutions, residual_blocks, transformer, mixed)}
MULTIPLES = {"convolutions": 2, "residual_blocks": 2, "transformer": 4, "mixed": 8}


def network(name, seed=0):
    """In evaluation, with weights that none of its parts can be left out with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = NETWORKS[name]()
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.1 * torch.rand_like(parameter)
            else:
                parameter.data *= 1.5
    return net.eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
