// A digest of what is in memory.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/isa.hpp"

namespace lic_fast::cpu {

/// Tells contents apart that differ, at the speed of memory: four chains of 64-bit multiplications,
/// each of which is a bijection of its state for a given word and of the word for a given state.
/// Any change of a single word changes the result.
inline std::uint64_t digest(const unsigned char* data, std::size_t bytes) {
  constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15ULL;
  constexpr std::size_t kChains = 4;
  std::uint64_t states[kChains] = {1, 2, 3, 4};
  const auto word_at = [data](std::size_t offset, std::size_t size) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + offset, size);
    return word;
  };
  std::size_t offset = 0;
  for (; offset + kChains * 8 <= bytes; offset += kChains * 8) {
    // Across the end of a page, where the processor does not look ahead.
    LIC_FAST_PREFETCH(data + offset + 4096);
    for (std::size_t i = 0; i < kChains; ++i) {
      states[i] = (states[i] ^ word_at(offset + 8 * i, 8)) * kFactor;
    }
  }
  for (std::size_t i = 0; offset < bytes; i = (i + 1) % kChains) {
    const std::size_t size = bytes - offset < 8 ? bytes - offset : 8;
    states[i] = (states[i] ^ word_at(offset, size)) * kFactor;
    offset += size;
  }
  std::uint64_t result = bytes;
  for (const std::uint64_t state : states) {
    result = (result ^ (state >> 29) ^ state) * kFactor;
  }
  return result;
}

}  // namespace lic_fast::cpu
