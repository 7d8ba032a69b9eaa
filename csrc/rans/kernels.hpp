// The loops that are written once for each instruction set.
//
// They take whole groups, one symbol for each of 16 or 32 lanes, and stop before one that holds
// an escape or an index that names no table: the scalar code takes that group, and defines what
// any of them computes. To add an instruction set: a Kernels of its own, a name in cpu/isa.hpp,
// a line in kernels.cpp.

#pragma once

#include <cstddef>
#include <cstdint>

#include "ans/tables.hpp"
#include "cpu/isa.hpp"
#include "rans/format.hpp"

namespace lic_fast::rans {

/// Words that may be read after the last one.
inline constexpr std::size_t kReadAhead = 2 * kMaxLanes;
using TablesView = ans::CdfTables::View;

/// Decodes `groups` groups, `states` being the lanes'. Advances `next`, which may come to lie
/// beyond `end`: then the stream was too short. Reads at most kReadAhead words from `end` on, which
/// must be there. Returns the number of groups decoded.
template <class Index, class Symbol>
using DecodeGroups = std::size_t (*)(const TablesView& tables, std::uint32_t* states,
                                     const std::uint16_t*& next, const std::uint16_t* end,
                                     const Index* indexes, Symbol* symbols, std::size_t groups);

/// Finds the packed intervals of symbols, that of the escape for those outside their table.
/// Returns how many were found before the first whose index names no table, or fewer: those left
/// are the scalar code's.
template <class Index, class Symbol>
using FindIntervals = std::size_t (*)(const TablesView& tables, const Symbol* symbols,
                                      const Index* indexes, std::uint32_t* intervals,
                                      std::size_t count);

/// Encodes `groups` groups of intervals, the last group first. Advances `words`, where the words
/// come in the order of encoding; there must be room for as many as each group has lanes and
/// kMaxLanes more. Returns the number of groups encoded.
using EncodeGroups = std::size_t (*)(std::uint32_t* states, const std::uint32_t* intervals,
                                     std::size_t groups, std::uint16_t*& words);

/// For a number of lanes.
struct LaneKernels {
  DecodeGroups<std::uint8_t, std::int16_t> decode_uint8_int16 = nullptr;
  DecodeGroups<std::uint8_t, std::int32_t> decode_uint8_int32 = nullptr;
  DecodeGroups<std::int16_t, std::int16_t> decode_int16_int16 = nullptr;
  DecodeGroups<std::int16_t, std::int32_t> decode_int16_int32 = nullptr;
  EncodeGroups encode = nullptr;

  template <class Index, class Symbol>
  DecodeGroups<Index, Symbol> decode() const {
    constexpr bool kWide = sizeof(Symbol) == 4;
    if constexpr (sizeof(Index) == 1) {
      if constexpr (kWide) return decode_uint8_int32;
      if constexpr (!kWide) return decode_uint8_int16;
    } else {
      if constexpr (kWide) return decode_int16_int32;
      if constexpr (!kWide) return decode_int16_int16;
    }
  }
};

/// Those of an instruction set; null pointers where there is no kernel.
struct Kernels {
  LaneKernels lanes16, lanes32;
  FindIntervals<std::uint8_t, std::int16_t> find_uint8_int16 = nullptr;
  FindIntervals<std::uint8_t, std::int32_t> find_uint8_int32 = nullptr;
  FindIntervals<std::int16_t, std::int16_t> find_int16_int16 = nullptr;
  FindIntervals<std::int16_t, std::int32_t> find_int16_int32 = nullptr;

  const LaneKernels& of(unsigned lanes) const {
    static constexpr LaneKernels kNone{};
    return lanes == 32 ? lanes32 : lanes == 16 ? lanes16 : kNone;
  }

  template <class Index, class Symbol>
  FindIntervals<Index, Symbol> find() const {
    constexpr bool kWide = sizeof(Symbol) == 4;
    if constexpr (sizeof(Index) == 1) {
      if constexpr (kWide) return find_uint8_int32;
      if constexpr (!kWide) return find_uint8_int16;
    } else {
      if constexpr (kWide) return find_int16_int32;
      if constexpr (!kWide) return find_int16_int16;
    }
  }
};

const Kernels& kernels(cpu::Isa isa);

#ifdef LIC_FAST_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace lic_fast::rans
