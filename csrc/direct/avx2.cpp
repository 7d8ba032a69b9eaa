#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/bfloat16.hpp"
#include "direct/convolution.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX2

namespace lic_fast::direct {
namespace {

#include "cpu/vectors_avx2.inl"
// The kernel, of these vectors.
#include "direct/blocks.inl"
// That to few outputs.
#include "direct/few.inl"

}  // namespace

void avx2_kernel(const Part& part) { compute_block(part); }

void avx2_few_kernel(const Part& part) { compute_few(part); }

}  // namespace lic_fast::direct

#endif
