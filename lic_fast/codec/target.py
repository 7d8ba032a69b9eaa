"""What a ``.lic`` file is to be: of a quality, within a size or a rate, or at least so faithful."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from fractions import Fraction
from numbers import Integral, Real

from lic_fast.codec.container import QUALITIES

__all__ = ["Encoded", "Target"]


@dataclass(frozen=True)
class Target:
    """What a file is to be: at most one of four; none for the model's default.

    Attributes:
        quality: From 1 to 100, the best; files hold whole hundredths of it, and it is
            rounded to those.
        size: Bytes of the whole file at most.
        bpp: Bits of the whole file for each pixel at most.
        psnr: In dB at least, of the 8-bit pixels that this machine decodes. Others may round
            some of them to the next grey level.

    Raises:
        ValueError: More than one is given, or one is impossible.
    """

    quality: float | None = None
    size: int | None = None
    bpp: float | None = None
    psnr: float | None = None

    def __post_init__(self) -> None:
        names = [name for name, _ in self.given()]
        if len(names) > 1:
            raise ValueError(f"give one of quality, size, bpp and psnr, not {' and '.join(names)}")
        for name, value in self.given():
            kind, words = (Integral, "a whole number") if name == "size" else (Real, "a number")
            number = isinstance(value, kind) and not isinstance(value, bool)
            if not number or not -math.inf < value < math.inf:
                raise ValueError(f"{name} is {words}, not {value!r}")
            if name == "quality" and not QUALITIES[0] <= 100 * value <= QUALITIES[-1]:
                raise ValueError(f"quality is 1 to 100, not {value}")
            if value <= 0:
                raise ValueError(f"{name} is more than 0, not {value}")
        if self.quality is not None:
            object.__setattr__(self, "quality", round(100 * self.quality) / 100)

    def given(self) -> list[tuple[str, float]]:
        """The name and the value of what is given; nothing for the model's default."""
        values = [(each.name, getattr(self, each.name)) for each in fields(self)]
        return [(name, value) for name, value in values if value is not None]

    @property
    def searched(self) -> bool:
        """Whether the quality has to be found, picture by picture."""
        return self.size is not None or self.bpp is not None or self.psnr is not None

    def largest_file(self, pixels: int) -> int | None:
        """Bytes that the file of a picture of so many pixels may have; None for any number."""
        if self.bpp is not None:
            # Numbers of numpy are none that a fraction is made of.
            bpp = self.bpp if isinstance(self.bpp, int | Fraction) else float(self.bpp)
            return math.floor(Fraction(bpp) * pixels / 8)
        return self.size


@dataclass(frozen=True)
class Encoded:
    """A coded picture, and what a search has found.

    Attributes:
        data: The bytes of a ``.lic`` file.
        quality: That it was coded with; None if the model is of one rate.
        psnr: Of the decoded picture, in dB; None unless it was searched for.
        codings: How often the latents were coded.
    """

    data: bytes = field(repr=False)
    quality: float | None
    psnr: float | None = None
    codings: int = 1
