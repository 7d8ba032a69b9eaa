"""Transposed convolutions as convolutions to several pixels at a time."""

import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lic_fast.ops.subpixel import is_subpixel, pixels_first, shuffled
from lic_fast.runtime.program import subpixel_weight


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 7),
    stride=st.integers(2, 4),
    padding=st.integers(0, 3),
    sides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_a_transposed_convolution_is_a_subpixel_one(kernel, stride, padding, sides):
    output_padding = stride + 2 * padding - kernel
    # As torch asks.
    assume(0 <= output_padding < stride)
    assert is_subpixel(kernel, stride, padding, output_padding)
    assert not is_subpixel(kernel + 1, stride, padding, output_padding)
    # Small integers, whose sums are exact.
    x = torch.randint(-9, 10, (2, 3, *sides)).float()
    weight = torch.randint(-9, 10, (3, 2, kernel, kernel)).float()
    array, halo = subpixel_weight(weight.numpy(), stride, padding)
    wide = torch.from_numpy(array)
    y = F.conv2d(x, wide, padding=halo).permute(0, 2, 3, 1)
    form = {"stride": stride, "padding": padding, "output_padding": output_padding}
    expected = F.conv_transpose2d(x, weight, **form)
    assert torch.equal(shuffled(y, stride).permute(0, 3, 1, 2), expected)


def test_channels_with_pixels_first_are_those_of_a_pixel_shuffle():
    x = torch.randn(2, 3 * 4, 5, 6)
    first = pixels_first(x.transpose(0, 1), 2).transpose(0, 1)
    found = shuffled(first.permute(0, 2, 3, 1), 2).permute(0, 3, 1, 2)
    assert torch.equal(found, F.pixel_shuffle(x, 2))
