#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

// GCC takes what its own intrinsics leave undefined for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "attention/window_attention.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512

namespace lic_fast::attention {
namespace {

struct Vector {
  static constexpr std::size_t kWidth = 16;
  __m512 v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Vector zero() { return {_mm512_setzero_ps()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector all(float x) { return {_mm512_set1_ps(x)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector load(const float* x) {
    return {_mm512_loadu_ps(x)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(float* x) const { _mm512_storeu_ps(x, v); }
};

LIC_FAST_TARGET LIC_FAST_INLINE Vector add(Vector a, Vector b) { return {_mm512_add_ps(a.v, b.v)}; }
LIC_FAST_TARGET LIC_FAST_INLINE Vector subtract(Vector a, Vector b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector multiply(Vector a, Vector b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector fused(Vector a, Vector b, Vector c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector maximum(Vector a, Vector b) {
  return {_mm512_max_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector nearest(Vector a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// a 2^n for an integer n.
LIC_FAST_TARGET LIC_FAST_INLINE Vector scaled(Vector a, Vector n) {
  return {_mm512_scalef_ps(a.v, n.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Vector zero_below(Vector a, Vector x, Vector bound) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, bound.v, _CMP_NLT_UQ), a.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE float highest(Vector a) { return _mm512_reduce_max_ps(a.v); }
LIC_FAST_TARGET LIC_FAST_INLINE float total(Vector a) { return _mm512_reduce_add_ps(a.v); }

#include "attention/band.inl"

}  // namespace

BandKernel avx512_band() { return &Band::run; }

}  // namespace lic_fast::attention

#endif
