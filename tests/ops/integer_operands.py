"""Random operands of integer layers, and the C++ on them with poisoned outputs."""

import numpy as np
import torch

from lic_fast.ops.integer_layer import Quantizer

ACTIVATIONS = ["none", "relu", "leaky_relu", "gelu"]


def activations(halves, shape, generator):
    return [
        torch.randint(0, 128, shape, dtype=torch.uint8, generator=generator) for _ in range(halves)
    ]


def quantizer(channels, bits, generator, step=1.0):
    """One that clamps at both ends and meets ties: many steps are powers of two."""
    inverse = torch.rand(channels, generator=generator) * step
    inverse = torch.where(torch.rand(channels, generator=generator) < 0.5, inverse, step)
    zero = torch.randint(0, 2**bits, (channels,), generator=generator).to(torch.int32)
    return Quantizer(inverse, zero, bits)


def parameters(
    n, m, generator, *, groups=1, kernel=3, stride=1, halves=1, activation="none", bits=0
):
    """Keyword arguments of a layer whose values before the activation are about 1 to 10."""
    weight = torch.randint(-128, 128, (m, n // groups, kernel, kernel), generator=generator)
    spread = 128.0**halves * 128 * (n // groups * kernel**2) ** 0.5
    scale = (torch.rand(m, generator=generator) * 10 - 5) / spread
    # Of the reciprocal of a power of two, the values are often ties.
    scale[::3] = 2.0 ** -round(float(np.log2(spread)))
    return {
        "weight": weight.to(torch.int8),
        "bias": torch.randint(-int(spread), int(spread), (m,), generator=generator).int(),
        "scale": scale,
        "border": activations(halves, (n,), generator),
        "stride": stride,
        "groups": groups,
        "activation": activation,
        "output": quantizer(m, bits, generator, 2.0 ** (bits - 4)) if bits else None,
    }


def as_array(x):
    return x.permute(0, 2, 3, 1).contiguous().numpy()


def part_of_a_larger_map(x, before, after, poison):
    """The map (B, N, H, W) as channels of an array with more of them, rows and columns."""
    array = as_array(x)
    b, h, w, n = array.shape
    larger = np.full((b, h + 1, w + 2, before + n + after), poison, array.dtype)
    view = larger[:, :h, 1 : 1 + w, before : before + n]
    view[...] = array
    return view, larger


def poisoned(shape, bits):
    """Parts of larger maps to write, full of what is not to stay: (B, M, H, W) in `bits`."""
    if bits == 0:
        return part_of_a_larger_map(torch.full(shape, torch.nan), 3, 1, np.float32(np.nan))
    pairs = [
        part_of_a_larger_map(torch.full(shape, 255, dtype=torch.uint8), 1, 2, np.uint8(255))
        for _ in range(bits // 7)
    ]
    return [view for view, _ in pairs], [larger for _, larger in pairs]


def assert_same_bits(out, expected):
    """Of arrays (B, H, W, M) and maps (B, M, H, W), -0.0 being another number than 0.0."""
    outs, maps = ([out], [expected]) if isinstance(expected, torch.Tensor) else (out, expected)
    assert len(outs) == len(maps)
    for array, values in zip(outs, maps, strict=True):
        wanted = as_array(values)
        got = np.ascontiguousarray(array)
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        if wanted.dtype == np.float32:
            got, wanted = got.view(np.int32), wanted.view(np.int32)
        np.testing.assert_array_equal(got, wanted)


def assert_untouched_around(larger, view):
    """That nothing was written beside `view`, which has the poison nowhere else."""
    view = view if isinstance(view, list) else [view]
    larger = larger if isinstance(larger, list) else [larger]
    for whole, part in zip(larger, view, strict=True):
        part[...] = 0
        poison = np.isnan(whole) if whole.dtype == np.float32 else whole == 255
        assert poison.sum() == whole.size - part.size
