// cpu/words.inl with products of AVX512-VNNI.

LIC_FAST_TARGET LIC_FAST_INLINE Vector with_products(Vector sums, Vector x, Vector w) {
  return {_mm512_castsi512_ps(_mm512_dpwssd_epi32(
      _mm512_castps_si512(sums.v), _mm512_castps_si512(x.v), _mm512_castps_si512(w.v)))};
}

#include "cpu/words.inl"
