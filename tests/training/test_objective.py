"""What a step minimises, and what a validation measures."""

import numpy as np
import pytest
import torch
from compressai.losses import RateDistortionLoss

from lic_fast.models import WACNN
from lic_fast.training.objective import Objective
from lic_fast.training.recipe import Loss
from lic_fast.training.validation import final_weights, validate
from tests.models.tiny import tiny

LAMBDAS = (0.002, 0.01, 0.05)


def pixels(count=3, side=64):
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, side, side, 3), generator=generator, dtype=torch.uint8)


def images(batch):
    return batch.permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(("metric", "side"), [("mse", 64), ("ms-ssim", 192)])
def test_of_one_rate_it_is_the_loss_of_compressai(metric, side):
    net, batch = tiny(WACNN), pixels(2, side)
    loss, parts = Objective(net, Loss(lambda_=0.01, metric=metric))(batch)
    x = images(batch)
    with torch.no_grad():
        expected = RateDistortionLoss(0.01, metric)(net(x), x)
    torch.testing.assert_close(parts[0], expected["loss"])
    torch.testing.assert_close(parts[1], expected["bpp_loss"])
    name = "mse_loss" if metric == "mse" else "ms_ssim_loss"
    torch.testing.assert_close(parts[2], expected[name])
    torch.testing.assert_close(loss.detach(), expected["loss"] + net.aux_loss().detach())


@pytest.mark.parametrize("relative", [False, True])
def test_each_picture_has_the_lambda_of_its_anchor(relative):
    net, batch = tiny(WACNN, qualities=3), pixels()
    anchors = torch.tensor([2, 0, 1])
    loss = Loss(lambdas=LAMBDAS, relative=relative)
    _, parts = Objective(net, loss)(batch, anchors)
    alone = []
    for picture, anchor in zip(batch, anchors, strict=True):
        x = images(picture[None])
        with torch.no_grad():
            out = net(x, quality=net.anchor_qualities[anchor])
        alone.append(RateDistortionLoss(LAMBDAS[anchor])(out, x)["loss"])
    losses = torch.stack(alone)
    expected = (1 + losses).log().mean() if relative else losses.mean()
    torch.testing.assert_close(parts[0], expected)


def test_gains_have_gradients_at_their_own_anchors_alone():
    net, batch = tiny(WACNN, qualities=3), pixels(2)
    objective = Objective(net.train(), Loss(lambdas=LAMBDAS))
    objective(batch, torch.tensor([0, 2]))[0].backward()
    for gains in (net.y_gain, net.y_inv_gain):
        moved = gains.grad.abs().amax(1)
        assert moved[0] > 0
        assert moved[2] > 0
        assert moved[1] <= 1e-5 * moved.max()


@pytest.mark.parametrize("qualities", [0, 3])
def test_validation_measures_real_streams_at_every_anchor(qualities):
    net = final_weights(tiny(WACNN, qualities=qualities))
    pictures = [pixels(1)[0, :50].numpy(), pixels(1, 128)[0].numpy()]
    measured = validate(net, pictures)
    assert measured.shape == (2, max(1, qualities), 2)
    x = images(torch.from_numpy(pictures[1])[None])
    for j, quality in enumerate(net.anchor_qualities or [None]):
        strings = net.compress(x, quality=quality)
        decoded = net.decompress(**strings)["x_hat"]
        size = sum(len(string) for kind in strings["strings"] for string in kind)
        error = np.square((decoded * 255).round().numpy() - 255 * x.numpy()).mean()
        expected = [8 * size / 128**2, 10 * np.log10(255**2 / error)]
        np.testing.assert_allclose(measured[1, j], expected, rtol=1e-6)
