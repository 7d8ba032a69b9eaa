// What help() says of the coder in Python.

#pragma once

namespace lic_fast::ans {

inline constexpr char kCdfTablesDoc[] = R"(Quantised CDFs, checked once and laid out for coding.

Immutable, so that threads may share one. Every coding method takes it in place
of the three arguments ``cdfs, cdfs_sizes, offsets``, which are otherwise checked
and laid out in each call.

Args:
    cdfs: the tables: integers of shape (tables, entries), as an array or CPU
        tensor, or a list of lists. Table i is the first ``cdfs_sizes[i]``
        entries of row i; what follows them is ignored. It rises strictly from
        0 to 65536. Its last interval is the escape, so that a table for n
        symbols has n + 2 entries; n may be 0.
    cdfs_sizes: (tables,), at least 2 and at most the row's length.
    offsets: (tables,), the symbol of each table's first interval. The symbols
        of a table must fit int32.

Raises:
    ValueError: for tables that are not as said; the message names the first.
    TypeError: for what holds no integers.
    OverflowError: for integers beyond 32 bits.
)";

inline constexpr char kArraysDoc[] = R"(The tables as CompressAI stores them.

Returns:
    ``(cdfs, cdfs_sizes, offsets)``, int32 arrays of shapes (tables, longest
    size), (tables,) and (tables,); rows are filled up with zeros.
)";

inline constexpr char kBufferedRansEncoderDoc[] =
    R"(Collects symbols from any number of calls and codes them into one stream.

The bytes are those of ``compressai.ans.BufferedRansEncoder``. An encoder serves
one thread at a time: a call during another thread's raises RuntimeError.
)";

inline constexpr char kAppendDoc[] = R"(Appends symbols to what the next flush() codes.

Args:
    symbols: integers: a list, or an array or CPU tensor of any shape, taken in C
        order. int32, int16 and uint8 are read in place.
    indexes: of the same shape: the number of the table of each symbol.
    cdfs: CdfTables, and nothing after it; or the first argument of CdfTables.
    cdfs_sizes: as for CdfTables.
    offsets: as for CdfTables.

A symbol outside its table is coded as an escape. With v = symbol - offset and a
table of n symbols, the format can hold -2**30 <= v < n + 2**30. (compressai's own
encoder does not end outside -2**27 <= v < n + 2**27; its decoder reads the rest.)

Raises:
    IndexError: an index names no table.
    OverflowError: a symbol is not an int32, or too far outside its table.
    ValueError: shapes differ, or a table is wrong.
    TypeError: an argument holds no integers.

After an error, nothing of this call has been appended.
)";

inline constexpr char kFlushDoc[] = R"(Codes all symbols appended since the last flush.

Returns:
    The stream, a multiple of 4 bytes. Without symbols it is the initial state, 8
    bytes; ``compressai.ans`` has no well-defined result for that.
)";

inline constexpr char kRansEncoderDoc[] = R"(Codes the symbols of one call into a stream.

The bytes are those of ``compressai.ans.RansEncoder``.
)";

inline constexpr char kEncodeDoc[] = R"(Codes symbols into a stream.

Arguments and errors are those of BufferedRansEncoder.encode_with_indexes.

Returns:
    The stream, a multiple of 4 bytes; 8 bytes if there are no symbols.
)";

inline constexpr char kRansDecoderDoc[] =
    R"(Decodes streams of this module or of ``compressai.ans``.

A decoder serves one thread at a time: a call during another thread's raises
RuntimeError. (decode_with_indexes does not touch the state and is free of this.)
)";

inline constexpr char kDecodeDoc[] = R"(Decodes symbols from the beginning of a stream.

Args:
    encoded: the stream: bytes, bytearray, memoryview or an array of uint8. What
        follows the last symbol is ignored, as by compressai; where that matters,
        use set_stream, decode_stream and finish.
    indexes: the number of the table of each symbol: a list, or an array or CPU
        tensor of any shape, in C order. int32, int16 and uint8 are read in place.
    cdfs: CdfTables, and nothing after it; or the first argument of CdfTables.
    cdfs_sizes: as for CdfTables.
    offsets: as for CdfTables.
    out: an int32 array or CPU tensor of the shape of the indexes, C-contiguous,
        to decode into. After an error its content is unspecified.

Returns:
    The symbols: `out` if given; else a list for a list, an int32 array for an
    array, an int32 tensor for a tensor of indexes, of the same shape.

Raises:
    lic_fast.errors.StreamError: the stream is too short for its symbols, its
        length is no multiple of 4, or it is one that no encoder writes. A damaged
        stream may also give other symbols without an error.
    IndexError: an index names no table.
    ValueError: shapes differ, or a table is wrong.
    TypeError: an argument is of a wrong kind.
)";

inline constexpr char kSetStreamDoc[] = R"(Sets the stream that decode_stream reads; it is copied.

Args:
    encoded: bytes, bytearray, memoryview or an array of uint8.

Raises:
    lic_fast.errors.StreamError: this cannot be a stream: it is shorter than 8
        bytes, not a multiple of 4, or begins with an impossible state. The decoder
        has no stream then.
)";

inline constexpr char kDecodeStreamDoc[] = R"(Decodes the next symbols of the stream.

Arguments, result and errors are those of decode_with_indexes, and RuntimeError
without a stream. After an error the position is where it was before the call.
)";

inline constexpr char kFinishDoc[] = R"(Checks that the stream has been used up exactly.

Catches every stream that was cut or lengthened at the end, and most of those that
were altered or decoded with other tables: the last state must be the one that the
encoder began with. It does not replace a checksum: an altered digit of an escape,
for one, changes no more than its symbol.

Raises:
    lic_fast.errors.StreamError: bytes are left, or the state is another one.
    RuntimeError: set_stream was not called.
)";

inline constexpr char kPmfDoc[] = R"(The quantised CDF of a probability mass function.

The result is that of ``compressai._CXX.pmf_to_quantized_cdf``: each probability
times 2**precision is rounded, the results are scaled to the sum 2**precision, and
each symbol left without a frequency takes one from the lowest frequency above 1.

Args:
    pmf: (n,) probabilities, taken as float32: a list, array or CPU tensor.
    precision: bits, 1 to 30. The coder uses 16.

Returns:
    A list of n + 1 integers that rises strictly from 0 to 2**precision.

Raises:
    ValueError: the pmf is empty, has negative or non-finite elements, sums to
        (almost) nothing or to 2**(32 - precision) or more, or has more than
        2**precision symbols; or the precision is out of range.
)";

}  // namespace lic_fast::ans
