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
#include "direct/convolution.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512

namespace lic_fast::direct {
namespace {

#include "cpu/vectors_avx512.inl"
// The kernel, of these vectors.
#include "direct/blocks.inl"
// That to few outputs.
#include "direct/few.inl"

}  // namespace

void avx512_kernel(const Part& part) { compute_block(part); }

void avx512_few_kernel(const Part& part) { compute_few(part); }

}  // namespace lic_fast::direct

#endif
