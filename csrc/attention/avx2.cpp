#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "attention/window_attention.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX2

namespace lic_fast::attention {
namespace {

struct Vector {
  static constexpr std::size_t kWidth = 8;
  __m256 v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Vector zero() { return {_mm256_setzero_ps()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector all(float x) { return {_mm256_set1_ps(x)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector load(const float* x) {
    return {_mm256_loadu_ps(x)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(float* x) const { _mm256_storeu_ps(x, v); }
};

LIC_FAST_TARGET LIC_FAST_INLINE Vector add(Vector a, Vector b) { return {_mm256_add_ps(a.v, b.v)}; }
LIC_FAST_TARGET LIC_FAST_INLINE Vector subtract(Vector a, Vector b) {
  return {_mm256_sub_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector multiply(Vector a, Vector b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector fused(Vector a, Vector b, Vector c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector maximum(Vector a, Vector b) {
  return {_mm256_max_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector nearest(Vector a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// a 2^n for an integer n, where the result is a normal number.
LIC_FAST_TARGET LIC_FAST_INLINE Vector scaled(Vector a, Vector n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n.v), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v), exponent))};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector zero_below(Vector a, Vector x, Vector bound) {
  return {_mm256_and_ps(a.v, _mm256_cmp_ps(x.v, bound.v, _CMP_NLT_UQ))};
}
LIC_FAST_TARGET LIC_FAST_INLINE float highest(Vector a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
LIC_FAST_TARGET LIC_FAST_INLINE float total(Vector a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

#include "attention/band.inl"

}  // namespace

BandKernel avx2_band() { return &Band::run; }

}  // namespace lic_fast::attention

#endif
