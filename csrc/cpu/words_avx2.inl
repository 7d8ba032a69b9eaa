// cpu/words.inl with products of AVX2.

LIC_FAST_TARGET LIC_FAST_INLINE Vector with_products(Vector sums, Vector x, Vector w) {
  const __m256i products = _mm256_madd_epi16(_mm256_castps_si256(x.v), _mm256_castps_si256(w.v));
#if defined(_MSC_VER) && !defined(__clang__)
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sums.v), products))};
#else
  // GCC 12 keeps sums that are cast to and fro in memory, not in registers.
  asm("vpaddd %1, %0, %0" : "+x"(sums.v) : "x"(products));
  return sums;
#endif
}

/// The larger size of each lane, any that is no number above all others.
LIC_FAST_TARGET LIC_FAST_INLINE Vector larger_size(Vector sizes, Vector x) {
  const __m256i bits = _mm256_and_si256(_mm256_castps_si256(x.v), _mm256_set1_epi32(0x7FFFFFFF));
  return {_mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(sizes.v), bits))};
}

#include "cpu/words.inl"
