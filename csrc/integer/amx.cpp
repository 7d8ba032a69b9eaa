#include "cpu/isa.hpp"

#ifdef LIC_FAST_TILES

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "cpu/tiles.hpp"
#include "integer/exact.hpp"
#include "integer/kernels.hpp"

#define LIC_FAST_TARGET LIC_FAST_AMX

namespace lic_fast::integer {
namespace {

#include "integer/vectors_avx512.inl"

LIC_FAST_TARGET LIC_FAST_INLINE Sums added(Sums sums, __m512i x, __m512i weights) {
  return {_mm512_dpbusd_epi32(sums.v, x, weights)};
}

LIC_FAST_TARGET LIC_FAST_INLINE Sums with_products(Sums sums, __m512i x, __m512i weights) {
  return {_mm512_dpwssd_epi32(sums.v, x, weights)};
}

LIC_FAST_TARGET LIC_FAST_INLINE Ints with_products(Ints sums, Ints x, Ints y) {
  return {_mm512_dpwssd_epi32(sums.v, x.v, y.v)};
}

#include "integer/kernels.inl"
//
#include "integer/tiles.inl"

}  // namespace

const Kernels kAmxKernels{&Tiles::run,
                          true,
                          nullptr,
                          {nullptr, nullptr},
                          3,
                          8,
                          &Elements::quantize,
                          &Elements::add_residual,
                          &Elements::gated,
                          &Transformer::sigmoid,
                          &Transformer::words,
                          &Transformer::layer_norm,
                          &Transformer::attend};

}  // namespace lic_fast::integer

#endif
