"""What a step minimises."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from lic_fast.models import SliceCompressionModel
from lic_fast.models.portable import Simulation
from lic_fast.training.recipe import Loss

__all__ = ["PARTS", "Objective"]

PARTS = ("loss", "bpp", "distortion", "aux")
"""What :class:`Objective` measures, in its order."""


class Objective(nn.Module):
    """Rate, distortion and the auxiliary loss of a batch, as one sum and one by one.

    The auxiliary loss fits the quantiles of the factorised prior and depends on nothing
    else, and nothing else depends on them (CompressAI's ``EntropyBottleneck.loss``): the sum
    has the gradients of both.

    Args:
        model: In training mode.
        loss: The recipe's.
        autocast: Type in which convolutions and matrix products run.
        channels_last: Whether maps are laid out so.
        simulation: Of the portable model's rounding, or None.
    """

    def __init__(
        self,
        model: SliceCompressionModel,
        loss: Loss,
        autocast: torch.dtype = torch.float32,
        channels_last: bool = False,
        simulation: Simulation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.autocast = autocast
        self.channels_last = channels_last
        self.simulation = simulation
        self.qualities = model.anchor_qualities
        self.lambdas = torch.tensor(loss.lambdas or [loss.lambda_])

    def forward(self, pixels: Tensor, anchors: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss, and all parts.

        Args:
            pixels: (B, H, W, 3) uint8.
            anchors: (B,) int64 on the CPU, the anchor of each picture's quality; None for a model
                of one rate.

        Returns:
            A scalar to minimise; a vector of :data:`PARTS` without gradient, means over the
            batch, where distortion is MSE of pixels in [0, 1], or MS-SSIM.
        """
        x = pixels.permute(0, 3, 1, 2)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        x = x.to(torch.float32, memory_format=layout).div_(255)
        quality = None
        lambdas = self.lambdas
        if anchors is not None:
            quality = [self.qualities[i] for i in anchors.tolist()]
            lambdas = lambdas[anchors]
        lambdas = lambdas.to(x.device)
        mixed = self.autocast != torch.float32
        rounding = nullcontext() if self.simulation is None else self.simulation.applied()
        with (
            rounding,
            torch.autocast(x.device.type, self.autocast if mixed else None, enabled=mixed),
        ):
            out = self.model(x, quality=quality)
        bpp = _bits_per_pixel(out["likelihoods"], x.shape[2] * x.shape[3])
        x_hat = out["x_hat"].float()
        if self.loss.metric == "mse":
            distortion = (x_hat - x).square().mean((1, 2, 3))
            losses = bpp + lambdas * 255**2 * distortion
        else:
            distortion = _ms_ssim(x_hat, x)
            losses = bpp + lambdas * (1 - distortion)
        minimised = (losses.log1p() if self.loss.relative else losses).mean()
        aux = self.model.aux_loss()
        parts = torch.stack([minimised, bpp.mean(), distortion.mean(), aux]).detach()
        return minimised + aux, parts


def _bits_per_pixel(likelihoods: dict[str, Tensor], pixels: int) -> Tensor:
    """Of each picture, (B,)."""
    bits = [part.float().log2().sum((1, 2, 3)) for part in likelihoods.values()]
    return -torch.stack(bits).sum(0) / pixels


def _ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Of each picture, (B,)."""
    from pytorch_msssim import ms_ssim

    found: Tensor = ms_ssim(x_hat, x, data_range=1, size_average=False)
    return found
