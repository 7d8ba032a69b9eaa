// Floats in vectors of AVX2, for files that define LIC_FAST_TARGET and include this inside their
// unnamed namespace: no two of them share a function.

#include "cpu/vectors_eight.inl"

struct Vector {
  static constexpr std::size_t kWidth = 8;
  __m256 v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Vector zero() { return {_mm256_setzero_ps()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector all(float x) { return {_mm256_set1_ps(x)}; }
  template <class T>
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector load(const T* x) {
    return {Eight::load(x).v};
  }
  template <class T>
  LIC_FAST_TARGET LIC_FAST_INLINE void store(T* x) const {
    Eight{v}.store(x);
  }
};

LIC_FAST_TARGET LIC_FAST_INLINE Vector add(Vector a, Vector b) { return {_mm256_add_ps(a.v, b.v)}; }
LIC_FAST_TARGET LIC_FAST_INLINE Vector subtract(Vector a, Vector b) {
  return {_mm256_sub_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector multiply(Vector a, Vector b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector divide(Vector a, Vector b) {
  return {_mm256_div_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector root(Vector a) { return {_mm256_sqrt_ps(a.v)}; }
LIC_FAST_TARGET LIC_FAST_INLINE Vector fused(Vector a, Vector b, Vector c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
/// b where either is no number.
LIC_FAST_TARGET LIC_FAST_INLINE Vector maximum(Vector a, Vector b) {
  return {_mm256_max_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector minimum(Vector a, Vector b) {
  return {_mm256_min_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector nearest(Vector a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// a 2^n for an integer n, where the result is a normal number.
LIC_FAST_TARGET LIC_FAST_INLINE Vector scaled(Vector a, Vector n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n.v), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v), exponent))};
}
/// a, or 0 where x < bound.
LIC_FAST_TARGET LIC_FAST_INLINE Vector zero_below(Vector a, Vector x, Vector bound) {
  return {_mm256_and_ps(a.v, _mm256_cmp_ps(x.v, bound.v, _CMP_NLT_UQ))};
}
/// Lanes of int32 as numbers.
LIC_FAST_TARGET LIC_FAST_INLINE Vector numbers_of(Vector a) {
  return {_mm256_cvtepi32_ps(_mm256_castps_si256(a.v))};
}
/// The nearest integers, of 16 bits.
LIC_FAST_TARGET LIC_FAST_INLINE void store_words(Vector a, std::int16_t* to) {
  const __m256i x = _mm256_cvtps_epi32(a.v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}
LIC_FAST_TARGET LIC_FAST_INLINE float largest(Vector a) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
LIC_FAST_TARGET LIC_FAST_INLINE float total(Vector a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

#include "cpu/vectors_functions.inl"
#include "cpu/vectors_tail.inl"
