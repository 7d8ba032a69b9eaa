#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "integer/exact.hpp"
#include "integer/kernels.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512

namespace lic_fast::integer {
namespace {

#include "integer/vectors_avx512.inl"

LIC_FAST_TARGET LIC_FAST_INLINE Sums added(Sums sums, __m512i x, __m512i weights) {
  // Sums of pairs fit 16 bits, as activations have 7: see conv.hpp.
  const __m512i pairs = _mm512_maddubs_epi16(x, weights);
  return {_mm512_add_epi32(sums.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
}

LIC_FAST_TARGET LIC_FAST_INLINE Sums with_products(Sums sums, __m512i x, __m512i weights) {
  return {_mm512_add_epi32(sums.v, _mm512_madd_epi16(x, weights))};
}

LIC_FAST_TARGET LIC_FAST_INLINE Ints with_products(Ints sums, Ints x, Ints y) {
  return {_mm512_add_epi32(sums.v, _mm512_madd_epi16(x.v, y.v))};
}

#include "integer/kernels.inl"

}  // namespace

const Kernels kAvx512Kernels{&Kernel::run,
                             false,
                             &Pointwise::run,
                             {&Winograd<Two>::run, &Winograd<Four>::run},
                             1,
                             4,
                             &Elements::quantize,
                             &Elements::add_residual,
                             &Elements::gated,
                             &Transformer::sigmoid,
                             &Transformer::words,
                             &Transformer::layer_norm,
                             &Transformer::attend};

}  // namespace lic_fast::integer

#endif
