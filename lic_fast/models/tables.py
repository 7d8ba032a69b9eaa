"""How large CDF tables would be, looked at before they are made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from torch import Tensor

__all__ = ["check_quantiles", "check_scales"]

# Far beyond any trained prior. CompressAI's time for a table is the square of its symbols: a
# quarter of a minute for 192 channels of so many.
_MOST_SYMBOLS = 2**13
# Intervals of a table of 16 bits, one of which is the escape.
_MOST_SCALE_SYMBOLS = 2**16 - 1


def check_quantiles(bottleneck: EntropyBottleneck) -> None:
    """Refuses a factorised prior whose tables would be too large to make.

    Raises:
        ValueError: Its quantiles are not finite or too far apart; the message names the channel.
    """
    low, median, high = bottleneck.quantiles.detach()[:, 0].double().unbind(1)
    finite = low.isfinite() & median.isfinite() & high.isfinite()
    below, above = (median - low).ceil().clamp(min=0), (high - median).ceil().clamp(min=0)
    symbols = below + above + 1
    wrong = (~finite | (symbols > _MOST_SYMBOLS)).nonzero()
    if not len(wrong):
        return
    channel = int(wrong[0])
    there = f"{low[channel]:g}, {median[channel]:g} and {high[channel]:g} in channel {channel}"
    why = (
        f"{symbols[channel]:.0f} symbols, of at most {_MOST_SYMBOLS} that a CDF table is made for"
        if finite[channel]
        else "not finite"
    )
    raise ValueError(
        f"entropy_bottleneck.quantiles are {there}: {why}. The prior is not trained yet (its "
        "auxiliary loss is), has diverged, or is damaged"
    )


def check_scales(conditional: GaussianConditional, scales: Sequence[float] | Tensor) -> None:
    """Refuses a scale table whose CDF tables would not fit 16 bits.

    Raises:
        ValueError: A scale is not finite, not positive or too large.
    """
    table = torch.as_tensor(scales, dtype=torch.float64).detach().cpu()
    width = -float(conditional._standardized_quantile(conditional.tail_mass / 2))
    largest = (_MOST_SCALE_SYMBOLS - 1) // 2 / width
    if not bool(((table > 0) & (table <= largest)).all()):
        raise ValueError(
            f"the scales of a scale table must be above 0 and at most {largest:.0f}, for which a "
            "CDF table of 16 bits has room"
        )
