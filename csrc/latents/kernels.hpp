// The loops over one row, written once for each instruction set. All compute the same bits.
//
// To add an instruction set: a Kernels of its own, a name in cpu/isa.hpp, a line in kernels.cpp.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"
#include "latents/scale_table.hpp"

namespace lic_fast::latents {

/// symbols = round(y - mean), ties to even, and y_hat = round(y - mean) + mean. Returns the largest
/// of the bits of |round(y - mean)|, which is that of a NaN if there is one. Symbols that their
/// type does not hold are any number.
template <class Symbol>
using Round = std::uint32_t (*)(const float* y, const float* mean, std::size_t count,
                                Symbol* symbols, float* y_hat);

/// y_hat = symbols + mean.
template <class Symbol>
using Add = void (*)(const Symbol* symbols, const float* mean, std::size_t count, float* y_hat);

/// The indexes of scales.
using FindIndexes = void (*)(const Buckets& buckets, const float* scales, std::size_t count,
                             std::uint8_t* indexes);

/// to[row * columns + column] = from[row + column * stride].
using Transpose = void (*)(const float* from, std::ptrdiff_t stride, std::size_t rows,
                           std::size_t columns, float* to);

struct Kernels {
  Round<std::int16_t> round_int16;
  Round<std::int32_t> round_int32;
  Add<std::int16_t> add_int16;
  Add<std::int32_t> add_int32;
  FindIndexes find_indexes;
  Transpose transpose;

  Round<std::int16_t> round(const std::int16_t*) const { return round_int16; }
  Round<std::int32_t> round(const std::int32_t*) const { return round_int32; }
  Add<std::int16_t> add(const std::int16_t*) const { return add_int16; }
  Add<std::int32_t> add(const std::int32_t*) const { return add_int32; }
};

const Kernels& kernels(cpu::Isa isa);

#ifdef LIC_FAST_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

/// Plain C++, which defines the results, and does what is left over of a vector.
namespace scalar {

inline constexpr std::uint32_t kMagnitude = 0x7fffffff;

/// Ties to even, as std::nearbyint, which is a call where the baseline has no instruction for it:
/// adding 2^23 leaves a float no room for a fraction. What is above has none.
LIC_FAST_INLINE float round(float x) {
  const float magnitude = std::fabs(x);
  const float unit = magnitude < 0x1p23f ? 0x1p23f : 0.0f;
  return std::copysign((magnitude + unit) - unit, x);
}

/// Without the undefined behaviour of a conversion that overflows.
template <class Symbol>
LIC_FAST_INLINE Symbol narrow(float x) {
  constexpr float kLimit = sizeof(Symbol) == 2 ? 0x7fff : 0x1p30f;
  x = x < kLimit ? x : kLimit;
  return static_cast<Symbol>(static_cast<std::int32_t>(x > -kLimit ? x : -kLimit));
}

template <class Symbol>
LIC_FAST_INLINE std::uint32_t round_row(const float* y, const float* mean, std::size_t count,
                                        Symbol* symbols, float* y_hat) {
  std::int32_t peak = 0;  // signed, for which the x86-64 baseline has comparisons of vectors
  for (std::size_t i = 0; i < count; ++i) {
    const float rounded = round(y[i] - mean[i]);
    peak = std::max(peak, static_cast<std::int32_t>(bits_of(rounded) & kMagnitude));
    symbols[i] = narrow<Symbol>(rounded);
    y_hat[i] = rounded + mean[i];
  }
  return static_cast<std::uint32_t>(peak);
}

template <class Symbol>
LIC_FAST_INLINE void add_row(const Symbol* symbols, const float* mean, std::size_t count,
                             float* y_hat) {
  for (std::size_t i = 0; i < count; ++i) y_hat[i] = static_cast<float>(symbols[i]) + mean[i];
}

LIC_FAST_INLINE void find_row(const Buckets& buckets, const float* scales, std::size_t count,
                              std::uint8_t* indexes) {
  // Copies, as the bytes that are written might otherwise be those of `buckets`.
  const float low = buckets.low, high = buckets.high;
  const std::uint32_t origin = buckets.origin;
  const unsigned shift = buckets.shift;
  const std::uint32_t* const entries = buckets.entries.data();
  for (std::size_t i = 0; i < count; ++i) {
    const float below = scales[i] < high ? scales[i] : high;
    const float scale = below > low ? below : low;
    const std::uint32_t place = bits_of(scale) - origin;
    indexes[i] = static_cast<std::uint8_t>((place + entries[place >> shift]) >> shift);
  }
}

/// The part of a transposition that begins at a row and a column.
LIC_FAST_INLINE void transpose_from(std::size_t first_row, std::size_t first_column,
                                    const float* from, std::ptrdiff_t stride, std::size_t rows,
                                    std::size_t columns, float* to) {
  // Few rows at a time, so that many columns are on their way from memory at once.
  constexpr std::size_t kBlock = 4;
  for (std::size_t block = first_row; block < rows; block += kBlock) {
    const std::size_t end = std::min(block + kBlock, rows);
    for (std::size_t column = first_column; column < columns; ++column) {
      const float* source = from + static_cast<std::ptrdiff_t>(column) * stride;
      for (std::size_t row = block; row < end; ++row) to[row * columns + column] = source[row];
    }
  }
}

}  // namespace scalar

}  // namespace lic_fast::latents
