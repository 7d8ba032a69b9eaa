// Floats in vectors of AVX-512; see vectors_avx2.inl.

#include "cpu/vectors_eight.inl"

struct Vector {
  static constexpr std::size_t kWidth = 16;
  __m512 v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Vector zero() { return {_mm512_setzero_ps()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector all(float x) { return {_mm512_set1_ps(x)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector load(const float* x) {
    return {_mm512_loadu_ps(x)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector load(const std::uint16_t* x) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(float* x) const { _mm512_storeu_ps(x, v); }
  /// bfloat16, rounded to the nearest, ties to even.
#ifdef LIC_FAST_BFLOAT16_STORES
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::uint16_t* x) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(x), (__m256i)_mm512_cvtneps_pbh(v));
  }
#else
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::uint16_t* x) const {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    const __m512i kept = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), bits,
                                              _mm512_set1_epi32(0x400000));
    const __m512i high = _mm512_srli_epi32(kept, 16);
    const __m256i packed =
        _mm256_packus_epi32(_mm512_castsi512_si256(high), _mm512_extracti64x4_epi64(high, 1));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(x), _mm256_permute4x64_epi64(packed, 0xD8));
  }
#endif
};

LIC_FAST_TARGET LIC_FAST_INLINE Vector add(Vector a, Vector b) { return {_mm512_add_ps(a.v, b.v)}; }
LIC_FAST_TARGET LIC_FAST_INLINE Vector subtract(Vector a, Vector b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector multiply(Vector a, Vector b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector divide(Vector a, Vector b) {
  return {_mm512_div_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector root(Vector a) { return {_mm512_sqrt_ps(a.v)}; }
LIC_FAST_TARGET LIC_FAST_INLINE Vector fused(Vector a, Vector b, Vector c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector maximum(Vector a, Vector b) {
  return {_mm512_max_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector minimum(Vector a, Vector b) {
  return {_mm512_min_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector nearest(Vector a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector scaled(Vector a, Vector n) {
  return {_mm512_scalef_ps(a.v, n.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector zero_below(Vector a, Vector x, Vector bound) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, bound.v, _CMP_NLT_UQ), a.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector numbers_of(Vector a) {
  return {_mm512_cvtepi32_ps(_mm512_castps_si512(a.v))};
}
LIC_FAST_TARGET LIC_FAST_INLINE void store_words(Vector a, std::int16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(a.v)));
}
LIC_FAST_TARGET LIC_FAST_INLINE float largest(Vector a) { return _mm512_reduce_max_ps(a.v); }
LIC_FAST_TARGET LIC_FAST_INLINE float total(Vector a) { return _mm512_reduce_add_ps(a.v); }

/// a (1 - Phi(a)), Phi the normal distribution's, for 0 <= a, off by 1.6e-7 at most.
LIC_FAST_TARGET LIC_FAST_INLINE Vector normal_tail(Vector a) {
  constexpr float kShift = 3 << 22;  // what it is added to, rounds to integers, its lowest bits
  const Vector end = Vector::all(cpu::kTailPiece * (cpu::kTailPieces - 1));
  a = minimum(end, a);  // in this order a NaN stays one
  const Vector shifted = fused(a, Vector::all(1 / cpu::kTailPiece), Vector::all(kShift));
  const Vector piece = subtract(shifted, Vector::all(kShift));
  const Vector distance = fused(piece, Vector::all(-cpu::kTailPiece), a);
  const auto coefficient = [shifted](std::size_t power) LIC_FAST_TARGET -> Vector {
    return {
        _mm512_permutexvar_ps(_mm512_castps_si512(shifted.v), _mm512_load_ps(cpu::kTail[power]))};
  };
  Vector sum = coefficient(4);
  sum = fused(sum, distance, coefficient(3));
  sum = fused(sum, distance, coefficient(2));
  sum = fused(sum, distance, coefficient(1));
  return multiply(a, fused(sum, distance, coefficient(0)));
}

#include "cpu/vectors_functions.inl"
