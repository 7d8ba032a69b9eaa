"""What a step minimises."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from compressai.losses import RateDistortionLoss
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
        self.metric = loss.metric
        self.autocast = autocast
        self.channels_last = channels_last
        self.simulation = simulation
        self.criterion = RateDistortionLoss(lmbda=loss.lambda_, metric=loss.metric)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and all parts.

        Args:
            pixels: (B, H, W, 3) uint8.

        Returns:
            A scalar to minimise; a vector of :data:`PARTS` without gradient, where
            distortion is MSE of pixels in [0, 1], or MS-SSIM.
        """
        x = pixels.permute(0, 3, 1, 2)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        x = x.to(torch.float32, memory_format=layout).div_(255)
        mixed = self.autocast != torch.float32
        rounding = nullcontext() if self.simulation is None else self.simulation.applied()
        with (
            rounding,
            torch.autocast(x.device.type, self.autocast if mixed else None, enabled=mixed),
        ):
            out = self.model(x)
        found = self.criterion(
            {
                "x_hat": out["x_hat"].float(),
                "likelihoods": {name: part.float() for name, part in out["likelihoods"].items()},
            },
            x,
        )
        aux = self.model.aux_loss()
        distortion = found["ms_ssim_loss" if self.metric == "ms-ssim" else "mse_loss"]
        parts = torch.stack([found["loss"], found["bpp_loss"], distortion, aux]).detach()
        return found["loss"] + aux, parts
