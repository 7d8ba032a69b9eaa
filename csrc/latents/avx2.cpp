#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "latents/kernels.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX2

namespace lic_fast::latents {
namespace {

#include "latents/loops.inl"

LIC_FAST_TARGET void find(const ScaleSearch& search, const float* scales, std::size_t count,
                          std::uint8_t* indexes) {
  constexpr std::size_t kWidth = 8;
  const __m256i first = _mm256_set1_epi32(search.first_bucket());
  const __m256i last_bucket = _mm256_set1_epi32(search.last_bucket());
  const __m256i last = _mm256_set1_epi32(static_cast<int>(search.last()));
  const auto* starts = reinterpret_cast<const int*>(search.starts());
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const __m256 scale = _mm256_loadu_ps(scales + i);
    const __m256i high = _mm256_srai_epi32(_mm256_castps_si256(scale), ScaleSearch::kShift);
    const __m256i bucket = _mm256_min_epi32(
        _mm256_max_epi32(_mm256_sub_epi32(high, first), _mm256_setzero_si256()), last_bucket);
    __m256i index = _mm256_i32gather_epi32(starts, bucket, 4);
    for (std::uint32_t step = 0; step < search.steps(); ++step) {
      const __m256 bound = _mm256_i32gather_ps(search.bounds(), index, 4);
      // Subtracting all ones adds one.
      const __m256 below = _mm256_cmp_ps(bound, scale, _CMP_LT_OQ);
      index = _mm256_sub_epi32(index, _mm256_castps_si256(below));
    }
    const __m256 nan = _mm256_cmp_ps(scale, scale, _CMP_UNORD_Q);
    index = _mm256_blendv_epi8(index, last, _mm256_castps_si256(nan));
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(index), _mm256_extracti128_si256(index, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(indexes + i), _mm_packus_epi16(words, words));
  }
  for (; i < count; ++i) indexes[i] = static_cast<std::uint8_t>(search.find(scales[i]));
}

}  // namespace

const Kernels kAvx2Kernels{&quantize, &find};

}  // namespace lic_fast::latents

#endif
