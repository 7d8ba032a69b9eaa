"""A CompressAI training step and evaluation in which only the model's import is changed.

    python examples/train_and_evaluate.py --steps 20 photos/*.jpg

trains on random crops of the pictures and then codes the first one for real.
Without pictures it trains on noise, which shows that it runs and nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from compressai.losses import RateDistortionLoss
from compressai.optimizers import net_aux_optimizer
from PIL import Image

# from stf.models import WACNN  # the line that changes
from lic_fast.models import WACNN

NANO = {
    "N": 64,
    "M": 128,
    "num_slices": 4,
    "max_support_slices": 2,
    "hyper_channels": (128, 112, 96, 80, 64),
    "hyper_synthesis_channels": (80, 96, 112, 128, 128),
    "entropy_channels": (96, 64),
}


def crops(paths: list[str], size: int, batch: int) -> Iterator[torch.Tensor]:
    """Endless batches (B, 3, size, size) in [0, 1]."""
    generator = np.random.default_rng(0)
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    if not pictures:
        pictures = [generator.integers(0, 256, (2 * size, 2 * size, 3), dtype=np.uint8)]
    while True:
        chosen = []
        for _ in range(batch):
            picture = pictures[generator.integers(len(pictures))]
            top, left = (generator.integers(side - size + 1) for side in picture.shape[:2])
            chosen.append(picture[top : top + size, left : left + size])
        yield torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float() / 255


def train(net: WACNN, batches: Iterator[torch.Tensor], steps: int) -> list[float]:
    """The rate-distortion loss of each step."""
    criterion = RateDistortionLoss(lmbda=0.013)
    optimizers = net_aux_optimizer(
        net, {"net": {"type": "Adam", "lr": 1e-4}, "aux": {"type": "Adam", "lr": 1e-3}}
    )
    net.train()
    losses = []
    for _ in range(steps):
        x = next(batches)
        optimizers["net"].zero_grad()
        optimizers["aux"].zero_grad()
        loss = criterion(net(x), x)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizers["net"].step()
        net.aux_loss().backward()
        optimizers["aux"].step()
        losses.append(loss.item())
        print(f"loss {losses[-1]:.3f}")
    return losses


@torch.no_grad()
def evaluate(net: WACNN, x: torch.Tensor) -> tuple[float, float]:
    """Bits per pixel of the real streams, and PSNR in dB."""
    net.eval()
    net.update(force=True)
    out = net.compress(x)
    x_hat = net.decompress(out["strings"], out["shape"])["x_hat"]
    size = sum(len(string) for strings in out["strings"] for string in strings)
    mse = torch.nn.functional.mse_loss(x_hat, x).item()
    return 8 * size / (x.shape[0] * x.shape[2] * x.shape[3]), -10 * np.log10(mse)


def main() -> None:
    """Runs both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="*", help="of at least the crop's size")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=128, help="side of the crops, a multiple of 64")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    net = WACNN(**NANO)
    batches = crops(arguments.pictures, arguments.size, arguments.batch)
    train(net, batches, arguments.steps)
    bpp, psnr = evaluate(net, next(batches)[:1])
    print(f"{bpp:.3f} bpp, {psnr:.2f} dB")


if __name__ == "__main__":
    main()
