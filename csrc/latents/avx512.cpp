#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

// GCC takes what its own intrinsics leave undefined for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "latents/kernels.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512

namespace lic_fast::latents {
namespace {

#include "latents/loops.inl"

constexpr std::size_t kWidth = 16;

/// Elements of an array, which for the usual table are in registers instead of memory.
template <bool kSmall>
struct Array {
  LIC_FAST_TARGET LIC_FAST_INLINE explicit Array(const void* array) : data(array) {
    if constexpr (kSmall) {
      for (int k = 0; k < 4; ++k) {
        part[k] = _mm512_loadu_si512(static_cast<const char*>(array) + 64 * k);
      }
    }
  }
  LIC_FAST_TARGET LIC_FAST_INLINE __m512i operator[](__m512i index) const {
    if constexpr (kSmall) {
      const __m512i low = _mm512_permutex2var_epi32(part[0], index, part[1]);
      const __m512i high = _mm512_permutex2var_epi32(part[2], index, part[3]);
      return _mm512_mask_mov_epi32(low, _mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), high);
    } else {
      return _mm512_i32gather_epi32(index, data, 4);
    }
  }
  const void* data;
  __m512i part[kSmall ? 4 : 1];
};

template <bool kSmall>
LIC_FAST_TARGET std::size_t find_whole(const ScaleSearch& search, const float* scales,
                                       std::size_t count, std::uint8_t* indexes) {
  const Array<kSmall> starts(search.starts()), bounds(search.bounds());
  const __m512i first = _mm512_set1_epi32(search.first_bucket());
  const __m512i last_bucket = _mm512_set1_epi32(search.last_bucket());
  const __m512i last = _mm512_set1_epi32(static_cast<int>(search.last()));
  const __m512i one = _mm512_set1_epi32(1);
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const __m512 scale = _mm512_loadu_ps(scales + i);
    const __m512i high = _mm512_srai_epi32(_mm512_castps_si512(scale), ScaleSearch::kShift);
    const __m512i bucket = _mm512_min_epi32(
        _mm512_max_epi32(_mm512_sub_epi32(high, first), _mm512_setzero_si512()), last_bucket);
    __m512i index = starts[bucket];
    for (std::uint32_t step = 0; step < search.steps(); ++step) {
      const __mmask16 below =
          _mm512_cmp_ps_mask(_mm512_castsi512_ps(bounds[index]), scale, _CMP_LT_OQ);
      index = _mm512_mask_add_epi32(index, below, index, one);
    }
    index = _mm512_mask_mov_epi32(index, _mm512_cmp_ps_mask(scale, scale, _CMP_UNORD_Q), last);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(indexes + i), _mm512_cvtepi32_epi8(index));
  }
  return i;
}

void find(const ScaleSearch& search, const float* scales, std::size_t count,
          std::uint8_t* indexes) {
  std::size_t i = search.small() ? find_whole<true>(search, scales, count, indexes)
                                 : find_whole<false>(search, scales, count, indexes);
  for (; i < count; ++i) indexes[i] = static_cast<std::uint8_t>(search.find(scales[i]));
}

}  // namespace

const Kernels kAvx512Kernels{&quantize, &find};

}  // namespace lic_fast::latents

#endif
