#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

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
#include "linear/linear.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512

namespace lic_fast::linear {
namespace {

#include "cpu/vectors_avx512.inl"
// The kernel, of these vectors.
#include "linear/rows.inl"

}  // namespace

void avx512_kernel(const Problem& problem, std::size_t first, std::size_t last) {
  if (problem.bfloat16) {
    Block<Floats, std::uint16_t>{problem, first, last - first}.run();
  } else {
    Block<Floats, float>{problem, first, last - first}.run();
  }
}

}  // namespace lic_fast::linear

#endif
