"""The entropy coder: streams of ``compressai.ans``, byte for byte, with every input checked.

One 64-bit rANS state, 32-bit words and 16-bit probabilities; a symbol outside its CDF table
is an escape followed by raw 4-bit digits. (Duda, "Asymmetric numeral systems",
arXiv:1311.2540; the parameters are those of F. Giesen's ryg_rans.) ``csrc/ans`` has the
arithmetic and says it in full.

Classes and functions have the signatures of CompressAI's. They also take NumPy arrays and CPU
tensors of integers, and a :class:`CdfTables` in place of the last three arguments::

    tables = CdfTables(cdfs, cdfs_sizes, offsets)
    stream = RansEncoder().encode_with_indexes(symbols, indexes, tables)
    symbols = RansDecoder().decode_with_indexes(stream, indexes, tables)

The GIL is released while symbols are coded. Whatever bytes, indexes or tables are given, the
worst is an exception, or wrong symbols from a stream that was altered; :class:`RansDecoder`'s
``finish`` finds most of the latter.
"""

from lic_fast._C import (
    BufferedRansEncoder,
    CdfTables,
    RansDecoder,
    RansEncoder,
    pmf_to_quantized_cdf,
)

__all__ = [
    "BufferedRansEncoder",
    "CdfTables",
    "RansDecoder",
    "RansEncoder",
    "pmf_to_quantized_cdf",
]
