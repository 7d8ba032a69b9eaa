"""A convolution with a skip around it, behind its activation."""

from __future__ import annotations

from torch import Tensor

from lic_fast.ops import tile_convolution
from lic_fast.ops.conv2d import conv2d
from lic_fast.ops.conv2d import reference as convolution
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.onednn import Activation, Pair
from lic_fast.ops.residual_sum import residual_sum

__all__ = ["reference", "skipped_conv2d"]

# Of factors, all of which float32 holds.
_LEAST = 2.0**-100


def skipped_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor,
    *,
    padding: Pair = (0, 0),
    activation: Activation = "none",
    factor: float = 1.0,
    out: Tensor | None = None,
) -> Tensor:
    """``activation(conv2d(x, weight) + bias) + factor * skip``: the end of a residual block.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the activation
    inside the branch, as CompressAI's blocks have it.

    Args:
        x: (B, N, H, W), float32, bfloat16 or float16; best with channels last.
        weight: (M, N, rows, columns); weight and bias are converted to the type of `x`.
        bias: (M,) or None.
        skip: Of the result's shape and type.
        padding: Zeros before and after rows and columns.
        activation: See :func:`lic_fast.ops.conv2d`.
        factor: Of the skip, at least 2^-100 in size: two where a skip lies around another one.
        out: Where the result goes, of its shape and type, as half of the channels of a map; anew
            if None. Not where a gradient is asked for.

    Returns:
        (B, M, H', W'): `out`, if there is one.

    Raises:
        ValueError: `factor` is smaller, or `skip` or `out` has another shape or type than the
            result.
    """
    if abs(factor) < _LEAST:
        raise ValueError(f"the factor of the skip must not be 0, or as near to it as {factor}")
    if _by_tiles(x, weight, bias, skip, padding, out):
        return tile_convolution.convolve(
            x, weight, bias, (1, 1), 1, activation, skip, behind=factor, out=out
        )
    branch = conv2d(x, weight, bias, padding=padding, activation=activation)
    # Over the branch, which nobody else has.
    into = branch if out is None and fast_on_cpu(branch, skip) else out
    into = None if into is None else _pixels(into)
    total = residual_sum(_pixels(branch), _pixels(skip), factor, out=into)
    return total.permute(0, 3, 1, 2) if out is None else out


def _by_tiles(
    x: Tensor, weight: Tensor, bias: Tensor | None, skip: Tensor, padding: Pair, out: Tensor | None
) -> bool:
    """Whether all is one step. Of a filtered convolution it would take as long as in two."""
    fits = fast_on_cpu(x, weight, bias, skip, out)
    if not fits or not tile_convolution.fits(x, weight, (1, 1), padding):
        return False
    shape = (len(x), len(weight), *x.shape[2:])
    alike = all(
        y.shape == shape and y.dtype == x.dtype for y in (skip, skip if out is None else out)
    )
    return alike and (out is None or out.stride(1) == 1)


def _pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor,
    padding: Pair,
    activation: Activation,
    factor: float,
) -> Tensor:
    """The definition of :func:`skipped_conv2d`."""
    plain = convolution(x, weight, bias, (1, 1), padding, 1, activation, None)
    return plain + factor * skip
