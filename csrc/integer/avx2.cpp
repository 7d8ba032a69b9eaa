#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "integer/conv.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX2

namespace lic_fast::integer {
namespace {

constexpr std::size_t kPixels = 4, kBlocks = 1;

struct Sums {
  struct Factors {
    __m256i low, high;
  };
  __m256i low, high;

  LIC_FAST_TARGET LIC_FAST_INLINE static Sums zero() {
    return {_mm256_setzero_si256(), _mm256_setzero_si256()};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Factors load(const std::int8_t* weights) {
    const auto* const vectors = reinterpret_cast<const __m256i*>(weights);
    return {_mm256_loadu_si256(vectors), _mm256_loadu_si256(vectors + 1)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m256i four(const std::uint8_t* x) {
    std::int32_t bytes = 0;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm256_set1_epi32(bytes);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::int32_t* to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to) + 1, high);
  }
};

LIC_FAST_TARGET LIC_FAST_INLINE Sums shifted(Sums sums) {
  return {_mm256_slli_epi32(sums.low, 7), _mm256_slli_epi32(sums.high, 7)};
}

/// Sums of pairs fit 16 bits, as activations have 7: see conv.hpp.
LIC_FAST_TARGET LIC_FAST_INLINE __m256i added(__m256i sum, __m256i x, __m256i weights) {
  const __m256i pairs = _mm256_maddubs_epi16(x, weights);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

LIC_FAST_TARGET LIC_FAST_INLINE Sums added(Sums sums, __m256i x, Sums::Factors weights) {
  return {added(sums.low, x, weights.low), added(sums.high, x, weights.high)};
}

#include "integer/rows.inl"

}  // namespace

RowsKernel avx2_rows() { return &Kernel::run; }

}  // namespace lic_fast::integer

#endif
