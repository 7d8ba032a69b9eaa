// Products of pairs of bfloat16, of AVX512-BF16.

#include "linear/linear.hpp"

#ifdef LIC_FAST_PAIRS

// GCC takes what its own intrinsics leave undefined for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/bfloat16.hpp"
#include "cpu/normal_tail.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512BF16

namespace lic_fast::linear {
namespace {

#define LIC_FAST_BFLOAT16_STORES
#include "cpu/vectors_avx512.inl"
// The kernel, of these vectors.
#include "linear/rows.inl"

struct Pairs : TwoAtOnce<std::uint16_t> {
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector accumulate(Vector sum, Vector x, Vector w) {
    return {_mm512_dpbf16_ps(sum.v, (__m512bh)x.v, (__m512bh)w.v)};
  }
};

}  // namespace

void avx512_pairs_kernel(const Problem& problem, std::size_t first, std::size_t last) {
  Block<Pairs, std::uint16_t>{problem, first, last - first}.run();
}

}  // namespace lic_fast::linear

#endif
