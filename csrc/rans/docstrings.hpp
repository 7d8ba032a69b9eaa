// What help() says of the lanes coder in Python.

#pragma once

namespace lic_fast::rans {

inline constexpr char kEncoderDoc[] =
    R"(Codes the symbols of all steps into one stream of the layout ``lanes``.

A stream depends on the symbols, the tables, `lanes` and `substreams`, and on
nothing else: neither on the number of threads nor on the instruction set. An
encoder keeps its memory for the next call. It serves one thread at a time: a
call during another thread's raises RuntimeError.

Args:
    tables: CdfTables, at most 32767 of them.
    lanes: interleaved states: 1, 2, 4, 8, 16 or 32. Vector instructions need
        32. By default it depends on the size, so that lanes cost below about 1 %.
    substreams: 1 to 32, how many threads a decoder can use. By default one for
        each 16 KiB, at most 16; each costs about 20 bytes.
    threads: how many to use. By default as many as torch's intra-op pool
        (torch.get_num_threads()), or one for each CPU if torch is not imported.
    isa: an entry of instruction_sets(). By default the environment variable
        LIC_FAST_ISA, or else the last entry.

Raises:
    ValueError: an argument is out of its range.
)";

inline constexpr char kEncodeDoc[] = R"(Codes a message.

Args:
    steps: a sequence of pairs (symbols, indexes), in the order in which the
        decoder asks for them. Both are integers of one shape: arrays or CPU
        tensors, taken in C order, or lists. An index is the number of the
        symbol's table. Symbols of int16 and int32 and indexes of uint8 and int16
        are read in place.

Returns:
    The stream, bytes.

Raises:
    IndexError: an index names no table.
    OverflowError: a symbol is not an int32, or more than 2**30 outside its table.
    ValueError: shapes differ, or a step is no pair.
    TypeError: something holds no integers.
)";

inline constexpr char kEncodeBatchDoc[] =
    R"(Codes messages, such as the images of a batch, side by side.

Args:
    messages: a sequence of what encode() takes.

Returns:
    A list with a stream for each message, the same as encode() gives.

Raises:
    IndexError, OverflowError, ValueError, TypeError: as encode() does.
)";

inline constexpr char kDecoderDoc[] =
    R"(Decodes streams of the layout ``lanes``, one step after another.

A decoder can be used for any number of streams. It serves one thread at a time:
a call during another thread's raises RuntimeError.

Args:
    tables: CdfTables, at most 32767 of them.
    threads: how many to use; a stream occupies at most as many as it has
        substreams. By default as many as torch's intra-op pool, or one for each
        CPU if torch is not imported.
    isa: an entry of instruction_sets(). By default the environment variable
        LIC_FAST_ISA, or else the last entry.

Raises:
    ValueError: an argument is out of its range.
)";

inline constexpr char kStartDoc[] = R"(Sets the stream that decode() reads; it is copied.

Args:
    stream: bytes, bytearray, memoryview or an array of uint8.

Raises:
    lic_fast.errors.StreamError: the bytes cannot be a stream. Then there is none.
    TypeError: they are no bytes.
)";

inline constexpr char kDecodeDoc[] = R"(Decodes the next step.

Args:
    indexes: the number of each symbol's table, of the shape that the encoder had:
        an array or CPU tensor, taken in C order, or a list. uint8 and int16 are
        read in place.
    out: an int16 or int32 array or CPU tensor of the shape of the indexes,
        C-contiguous, to decode into. After an error its content is unspecified.

Returns:
    The symbols: `out` if given; else a list for a list, an int32 array for an
    array, an int32 tensor for a tensor of indexes, of the same shape.

Raises:
    lic_fast.errors.StreamError: the stream is too short for its symbols, or one that
        no encoder writes. A damaged stream may also give other symbols without an
        error: finish() finds most of them, a checksum of the symbols the rest.
    IndexError: an index names no table.
    OverflowError: a symbol does not fit the int16 of `out`.
    ValueError: `out` has another shape.
    TypeError: an argument is of a wrong kind.
    RuntimeError: start() has not been called.

After an error the position is the one before the call.
)";

inline constexpr char kFinishDoc[] = R"(Checks that the stream ends here.

Raises:
    lic_fast.errors.StreamError: it does not, or not in the state in which the
        encoder began: it is damaged, or was decoded with other tables or indexes.
    RuntimeError: start() has not been called.
)";

inline constexpr char kInspectDoc[] =
    R"(What the header of a stream says, which is (lanes, groups, words).)";

inline constexpr char kInstructionSetsDoc[] =
    R"(The instruction sets that this CPU has of those that there is code for.

Returns:
    A list of names in ascending order, of which "scalar" is the first.
)";

}  // namespace lic_fast::rans
