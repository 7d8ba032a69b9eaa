// Words of 16 bits for weights, such that no sum of products overflows 32 bits.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"

namespace lic_fast::cpu {

/// Inputs whose products are summed as integers: more would leave too few bits to each.
inline constexpr std::size_t kSummed = 384;

/// Whether products of words are computed by these instructions, and faster than as many of floats.
/// AVX-512 without VNNI multiplies them no faster.
inline bool multiplies_words(Isa isa) { return isa == Isa::kAvx2 || isa >= Isa::kAvx512Vnni; }

/// The words of an output's weights, `weight(i)` of `inputs`, to `word(i)`, none of them larger
/// than `top`. Returns what they are to be multiplied by, no number where one of them is none, and
/// has `most` be at least the largest sum of kSummed words' magnitudes.
template <class Weight, class Word>
float weight_words(std::size_t inputs, float top, const Weight& weight, const Word& word,
                   std::int64_t& most) {
  float largest = 0, zero = 0;
  for (std::size_t i = 0; i < inputs; ++i) {
    largest = std::max(largest, std::fabs(weight(i)));
    zero += weight(i) * 0;  // no number for such and for infinity
  }
  const float scale = largest / top + zero;
  if (!(scale > 0)) return scale;
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < inputs; ++i) {
    if (i % kSummed == 0) sum = 0;
    const long rounded = std::lrint(weight(i) / scale);
    word(i) = static_cast<std::int16_t>(rounded);
    sum += std::abs(rounded);
    most = std::max(most, sum);
  }
  return scale;
}

/// The largest word of an input beside such sums: of 16 bits, and no sum of products beyond 32.
inline float input_limit(std::int64_t most) {
  constexpr std::int64_t kLimit = 0x7FFFFFFF, kLargest = 0x7FFF;
  return static_cast<float>(std::min(kLargest, kLimit / std::max<std::int64_t>(most, 1)));
}

}  // namespace lic_fast::cpu
