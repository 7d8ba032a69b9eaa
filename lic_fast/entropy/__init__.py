"""Everything between the bytes and the decoded latents: slice schedule and coding."""

from lic_fast.entropy.slices import Quantizer, SliceLatents, SliceNetworks, run_slices
from lic_fast.streams import LatentStreams, symbols_checksum

__all__ = [
    "LatentStreams",
    "Quantizer",
    "SliceLatents",
    "SliceNetworks",
    "run_slices",
    "symbols_checksum",
]
