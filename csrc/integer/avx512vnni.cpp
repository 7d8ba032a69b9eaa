#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "integer/conv.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512VNNI

namespace lic_fast::integer {
namespace {

// Of the 32 registers 24 hold sums, and two the weights.
constexpr std::size_t kPixels = 12, kBlocks = 2;

struct Sums {
  using Factors = __m512i;
  __m512i v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Sums zero() { return {_mm512_setzero_si512()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m512i load(const std::int8_t* weights) {
    return _mm512_loadu_si512(weights);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m512i four(const std::uint8_t* x) {
    std::int32_t bytes = 0;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm512_set1_epi32(bytes);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::int32_t* to) const { _mm512_storeu_si512(to, v); }
};

// The masked form: GCC 12 warns of an uninitialised operand inside the other.
LIC_FAST_TARGET LIC_FAST_INLINE Sums shifted(Sums sums) {
  return {_mm512_maskz_slli_epi32(0xFFFF, sums.v, 7)};
}

LIC_FAST_TARGET LIC_FAST_INLINE Sums added(Sums sums, __m512i x, __m512i weights) {
  return {_mm512_dpbusd_epi32(sums.v, x, weights)};
}

#include "integer/rows.inl"

}  // namespace

RowsKernel avx512vnni_rows() { return &Kernel::run; }

}  // namespace lic_fast::integer

#endif
