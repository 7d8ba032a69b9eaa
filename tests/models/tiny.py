"""The three models in widths that a test can afford."""

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
    model: type[SliceCompressionModel], seed: int = 0, qualities: int = 0
) -> SliceCompressionModel:
    """A model in evaluation mode, with weights that give symbols other than zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = model(**ARGUMENTS[model], qualities=qualities)
        with torch.no_grad():
            for network in net.cc_scale_transforms:
                network[-1].bias += 1.5
            net.h_a[-1].weight *= 100
    net.update()
    return net.eval()


def pictures(model: type[SliceCompressionModel], batch: int = 1, seed: int = 0) -> torch.Tensor:
    """Smooth random input of the smallest sides that every model takes, one twice as long."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 8, 16, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(128, 256), mode="bicubic").clamp(0, 1)
