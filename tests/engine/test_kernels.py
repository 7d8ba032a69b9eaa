"""Every instruction set's kernels, of the nodes that have several, against float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lic_fast import _C
from tests.engine.built import THREADS, Built, numbers
from tests.ops.arrays import activated

ISAS = _C.instruction_sets()
# Relative to the largest result: Winograd's sums that cancel; bfloat16's roundings, of the result
# and, as int16, of what is multiplied.
TOLERANCE = {False: 2e-5, True: 2.0**-7}
both = pytest.mark.parametrize("bfloat16", [False, True])


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    monkeypatch.setenv("LIC_FAST_ISA", request.param)
    return request.param


def rounded(x, bfloat16):
    return torch.from_numpy(x).bfloat16().double() if bfloat16 else torch.from_numpy(x).double()


def check(found, expected, bfloat16):
    bound = TOLERANCE[bfloat16] * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(torch.from_numpy(found).double(), expected, rtol=0, atol=bound)


def convolution(inputs, outputs, kernel, stride, shuffle):
    weight = numbers(
        (outputs * shuffle**2, inputs, kernel, kernel), 1, (inputs * kernel**2) ** -0.5
    )
    return weight, numbers(len(weight), 2)


def definition(x, weight, bias, stride, shuffle):
    """(B, H, W, N) to (B, r * H', r * W', M) in float64, from channels (r, r, M)."""
    padding = weight.shape[2] // 2
    weight, bias = (torch.from_numpy(w).double() for w in (weight, bias))
    out = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride, padding)
    out = out.unflatten(1, (shuffle, shuffle, -1))  # B, r, r, M, H', W'
    return out.permute(0, 4, 1, 5, 2, 3).flatten(3, 4).flatten(1, 2)


def kernel_of(isa, bfloat16, compact, tiles):
    """What computes a convolution that Winograd's algorithm is for."""
    if bfloat16 and isa == "amx":
        return "AMX tiles"
    if isa == "scalar":
        return "direct"
    if bfloat16 and isa in ("avx2", "avx512vnni"):
        return "Winograd, int16"
    if not bfloat16 and (compact or tiles <= 192):
        return "Winograd, compact weights"
    return "Winograd"


@pytest.mark.parametrize(("bfloat16", "compact"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize(
    ("kernel", "stride", "shuffle", "inputs", "outputs", "sides", "tiles", "activation"),
    [
        (3, 1, 1, 64, 48, (17, 22), 30, "none"),
        (3, 1, 1, 48, 33, (61, 58), 240, "gelu"),
        (5, 1, 1, 48, 32, (31, 30), 240, "leaky_relu"),
        (5, 2, 1, 16, 48, (32, 40), 20, "relu"),
        (5, 2, 1, 16, 40, (114, 122), 240, "none"),
        (3, 1, 2, 64, 3, (16, 18), 20, "relu"),
        (3, 1, 2, 64, 24, (60, 64), 240, "gelu"),
    ],
)
def test_convolutions(
    isa, bfloat16, compact, kernel, stride, shuffle, inputs, outputs, sides, tiles, activation
):
    weight, bias = convolution(inputs, outputs, kernel, stride, shuffle)
    builder = _C.ProgramBuilder(bfloat16, compact)
    form = (stride, kernel // 2, activation)
    # A sum with itself, so that there is a residual of the result's size.
    x = builder.input(inputs)
    plain = builder.conv2d(x, weight, bias, *form[:2], "none", None, shuffle)
    skipped = builder.conv2d(x, weight, bias, *form, plain, shuffle)
    program = Built(builder, [skipped], [outputs])
    (_, name, _), *_ = program.program.describe(*sides)
    assert name == kernel_of(isa, bfloat16, compact, tiles)
    image = numbers((2, *sides, inputs), 3)
    (found,) = program.run([image])
    out = definition(rounded(image, bfloat16), weight, bias, stride, shuffle)
    once = out.bfloat16().double() if bfloat16 else out
    check(found, activated(out + once, activation), bfloat16)
    # Neither threads nor the batch change a bit.
    (alone,) = program.run([image[1:]], threads=1)
    assert np.array_equal(alone[0], found[1])


def beside(builder, x, channels):
    """Some channels of a larger map, whose rows are not dense."""
    return builder.split(x, 3, channels)


@both
@pytest.mark.parametrize("channels", [1, 3, 8, 15, 16, 17, 31, 64, 100])
def test_norms_gates_and_sums(isa, bfloat16, channels):
    weight, bias = numbers(channels, 1), numbers(channels, 2)
    builder = _C.ProgramBuilder(bfloat16)
    wide = [builder.input(channels + 5) for _ in range(3)]
    x, y, z = (beside(builder, part, channels) for part in wide)
    outputs = [
        builder.layer_norm(x, weight, bias, 1e-3),
        builder.gate(x, y, z),
        builder.binary(x, y, "add", 2.0),
    ]
    program = Built(builder, outputs, [channels] * 3)
    images = [1 + 2 * numbers((2, 9, 7, channels + 5), 3 + i) for i in range(3)]
    norm, gate, total = program.run(images)
    a, b, c = (rounded(image, bfloat16)[..., 3 : 3 + channels] for image in images)
    weight, bias = (torch.from_numpy(w).double() for w in (weight, bias))
    check(norm, F.layer_norm(a, (channels,), weight, bias, 1e-3), bfloat16)
    check(gate, a * b.sigmoid() + c, bfloat16)
    check(total, a + 2 * b, bfloat16)
    for found, again in zip((norm, gate, total), program.run(images, threads=1), strict=True):
        assert np.array_equal(found, again)


def test_maps_of_bfloat16_are_the_float32_results_rounded(isa):
    images = [100 * numbers((1, 8, 8, 37), seed) for seed in range(3)]
    images[0][0, 3, 4], images[1][0, 5, 6], images[2][0, 7, 1] = 1e38, np.nan, np.inf
    images = [torch.from_numpy(x).bfloat16().float().numpy() for x in images]
    weight, bias = numbers(37, 4), numbers(37, 5)

    def results(bfloat16):
        builder = _C.ProgramBuilder(bfloat16)
        x, y, z = (builder.input(37) for _ in range(3))
        outputs = [
            builder.layer_norm(x, weight, bias, 1e-5),
            builder.gate(x, y, z),
            builder.binary(x, y, "add", -3.0),
        ]
        return Built(builder, outputs, [37] * 3).run(images)

    for narrow, wide in zip(results(True), results(False), strict=True):
        expected = torch.from_numpy(wide).bfloat16().float()
        torch.testing.assert_close(
            torch.from_numpy(narrow), expected, rtol=0, atol=0, equal_nan=True
        )


def test_gates_open_and_close(isa):
    logits = np.array([-np.inf, -200, -90, 0, 90, 200, np.inf, np.nan], np.float32)
    builder = _C.ProgramBuilder(False)
    maps = [builder.input(8) for _ in range(3)]
    program = Built(builder, [builder.gate(*maps)], [8])
    ones = np.ones((1, 1, 1, 8), np.float32)
    (found,) = program.run([ones, logits.reshape(1, 1, 1, 8), 0 * ones], THREADS)
    expected = torch.from_numpy(logits).sigmoid()
    torch.testing.assert_close(
        torch.from_numpy(found).flatten(), expected, rtol=1e-6, atol=1e-37, equal_nan=True
    )
