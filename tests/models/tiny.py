"""The three models in widths that a test can afford."""

from typing import Any

import pytest
import torch

from lic_fast.models import TCM, WACNN, SliceCompressionModel, SymmetricalTransFormer

ARGUMENTS = {
    SymmetricalTransFormer: {
        "embed_dim": 8,
        "depths": (2, 1, 2, 1),
        "num_heads": (1, 2, 2, 4),
        "drop_path_rate": 0.0,
        "num_slices": 4,
        "hyper_channels": (16, 16, 12, 12, 8),
        "hyper_synthesis_channels": (8, 12, 16, 16, 20),
        "entropy_channels": (12, 8),
    },
    WACNN: {
        "N": 8,
        "M": 24,
        "num_slices": 3,
        "max_support_slices": 1,
        "hyper_channels": (16, 16, 12, 12, 6),
        "hyper_synthesis_channels": (8, 12, 16, 16, 24),
        "entropy_channels": (12, 10, 8),
        "num_heads": 4,
    },
    TCM: {
        "config": (2, 1, 1, 2, 1, 1),
        "head_dim": (4, 8, 8, 8, 8, 4),
        "N": 8,
        "M": 20,
        "num_slices": 2,
        "max_support_slices": 2,
        "hyper_channels": 6,
        "hyper_head_dim": 4,
        "entropy_channels": (8,),
        "attention_channels": 8,
        "attention_head_dim": 4,
    },
}

CLASSES = list(ARGUMENTS)


def tiny(
    model: type[SliceCompressionModel], seed: int = 0, **overrides: Any
) -> SliceCompressionModel:
    """A model in evaluation mode, with weights that give symbols other than zero.

    Args:
        model: Its class.
        seed: Of the weights.
        overrides: Arguments other than those of :data:`ARGUMENTS`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = model(**{**ARGUMENTS[model], **overrides})
        with torch.no_grad():
            for network in net.cc_scale_transforms:
                network[-1].bias += 1.5
            net.h_a[-1].weight *= 100
    net.update()
    return net.eval()


def with_gains(model: type[SliceCompressionModel] = WACNN, seed: int = 0) -> SliceCompressionModel:
    """As :func:`tiny`, with three anchors, whose rates rise with the quality."""
    net = tiny(model, seed, qualities=3)
    gains = torch.tensor([2.0, 16.0, 128.0])[:, None]
    with torch.no_grad():
        net.y_gain.copy_(gains.expand_as(net.y_gain))
        net.y_inv_gain.copy_(1 / net.y_gain)
    return net


def faithful_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives WACNN of 24 channels transforms that random weights do not: latents are means of
    4x8 pixels, so that pictures are like the originals, the more the better the quality."""

    def analysis(self, x):
        means = torch.nn.functional.avg_pool2d(x, (4, 8)) - 0.5
        batch, _, rows, columns = means.shape
        blocks = means.reshape(batch, 3, rows // 4, 4, columns // 2, 2)
        return blocks.permute(0, 1, 3, 5, 2, 4).reshape(batch, 24, rows // 4, columns // 2)

    def synthesis(self, y_hat):
        batch, _, rows, columns = y_hat.shape
        blocks = y_hat.reshape(batch, 3, 4, 2, rows, columns).permute(0, 1, 4, 2, 5, 3)
        means = blocks.reshape(batch, 3, 4 * rows, 2 * columns) + 0.5
        return torch.nn.functional.interpolate(means, scale_factor=(4, 8), mode="bilinear")

    monkeypatch.setattr(WACNN, "analysis", analysis)
    monkeypatch.setattr(WACNN, "synthesis", synthesis)


def pictures(model: type[SliceCompressionModel], batch: int = 1, seed: int = 0) -> torch.Tensor:
    """Smooth random input of the smallest sides that every model takes, one twice as long."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 8, 16, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(128, 256), mode="bicubic").clamp(0, 1)
