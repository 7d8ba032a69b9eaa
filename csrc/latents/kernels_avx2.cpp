#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include "latents/kernels.hpp"

namespace lic_fast::latents {
namespace {

constexpr std::size_t kWidth = 8;

LIC_FAST_AVX2 LIC_FAST_INLINE void store(std::int16_t* to, __m256i values) {
  const __m128i narrow =
      _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), narrow);
}
LIC_FAST_AVX2 LIC_FAST_INLINE void store(std::int32_t* to, __m256i values) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), values);
}
LIC_FAST_AVX2 LIC_FAST_INLINE __m256i load(const std::int16_t* from) {
  return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
LIC_FAST_AVX2 LIC_FAST_INLINE __m256i load(const std::int32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

template <class Symbol>
LIC_FAST_AVX2 std::uint32_t round_row(const float* y, const float* mean, std::size_t count,
                                      Symbol* symbols, float* y_hat) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(scalar::kMagnitude));
  __m256i peaks = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const __m256 center = _mm256_loadu_ps(mean + i);
    const __m256 rounded = _mm256_round_ps(_mm256_sub_ps(_mm256_loadu_ps(y + i), center),
                                           _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    peaks = _mm256_max_epu32(peaks, _mm256_castps_si256(_mm256_and_ps(rounded, magnitude)));
    store(symbols + i, _mm256_cvtps_epi32(rounded));
    _mm256_storeu_ps(y_hat + i, _mm256_add_ps(rounded, center));
  }
  alignas(32) std::uint32_t lanes[kWidth];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), peaks);
  return std::max(*std::max_element(lanes, lanes + kWidth),
                  scalar::round_row(y + i, mean + i, count - i, symbols + i, y_hat + i));
}

template <class Symbol>
LIC_FAST_AVX2 void add_row(const Symbol* symbols, const float* mean, std::size_t count,
                           float* y_hat) {
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const __m256 values = _mm256_cvtepi32_ps(load(symbols + i));
    _mm256_storeu_ps(y_hat + i, _mm256_add_ps(values, _mm256_loadu_ps(mean + i)));
  }
  scalar::add_row(symbols + i, mean + i, count - i, y_hat + i);
}

/// No vectors: a gather takes longer than eight loads.
LIC_FAST_AVX2 void find_indexes(const Buckets& buckets, const float* scales, std::size_t count,
                                std::uint8_t* indexes) {
  scalar::find_row(buckets, scales, count, indexes);
}

/// 8 x 8: pairs, then pairs of pairs, then halves change places.
LIC_FAST_AVX2 LIC_FAST_INLINE void transpose_block(const float* from, std::ptrdiff_t stride,
                                                   float* to, std::size_t columns) {
  __m256 lines[kWidth], pairs[kWidth], quads[kWidth];
  for (std::size_t i = 0; i < kWidth; ++i) {
    lines[i] = _mm256_loadu_ps(from + static_cast<std::ptrdiff_t>(i) * stride);
  }
  for (std::size_t i = 0; i < kWidth; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(lines[i], lines[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(lines[i], lines[i + 1]);
  }
  for (std::size_t i = 0; i < kWidth; i += 4) {
    quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
    quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
  }
  for (std::size_t i = 0; i < kWidth / 2; ++i) {
    _mm256_storeu_ps(to + i * columns, _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * columns, _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31));
  }
}

LIC_FAST_AVX2 void transpose(const float* from, std::ptrdiff_t stride, std::size_t rows,
                             std::size_t columns, float* to) {
  const std::size_t whole_rows = rows / kWidth * kWidth;
  const std::size_t whole_columns = columns / kWidth * kWidth;
  for (std::size_t column = 0; column < whole_columns; column += kWidth) {
    const float* source = from + static_cast<std::ptrdiff_t>(column) * stride;
    for (std::size_t row = 0; row < whole_rows; row += kWidth) {
      transpose_block(source + row, stride, to + row * columns + column, columns);
    }
  }
  scalar::transpose_from(whole_rows, 0, from, stride, rows, columns, to);
  scalar::transpose_from(0, whole_columns, from, stride, whole_rows, columns, to);
}

}  // namespace

const Kernels kAvx2Kernels{
    &round_row<std::int16_t>,
    &round_row<std::int32_t>,
    &add_row<std::int16_t>,
    &add_row<std::int32_t>,
    &find_indexes,
    &transpose,
};

}  // namespace lic_fast::latents

#endif
