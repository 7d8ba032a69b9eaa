// cpu/words.inl with products of AVX512-VNNI.

LIC_FAST_TARGET LIC_FAST_INLINE Vector with_products(Vector sums, Vector x, Vector w) {
  return {_mm512_castsi512_ps(_mm512_dpwssd_epi32(
      _mm512_castps_si512(sums.v), _mm512_castps_si512(x.v), _mm512_castps_si512(w.v)))};
}

/// The larger size of each lane, any that is no number above all others.
LIC_FAST_TARGET LIC_FAST_INLINE Vector larger_size(Vector sizes, Vector x) {
  const __m512i bits = _mm512_and_si512(_mm512_castps_si512(x.v), _mm512_set1_epi32(0x7FFFFFFF));
  return {_mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(sizes.v), bits))};
}

#include "cpu/words.inl"
