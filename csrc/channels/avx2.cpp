#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "channels/channels.hpp"
#include "cpu/bfloat16.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX2

namespace lic_fast::channels {
namespace {

#include "cpu/vectors_avx2.inl"
// The kernel, of these vectors.
#include "channels/rows.inl"

}  // namespace

Kernel avx2_kernel() { return &run_rows; }

}  // namespace lic_fast::channels

#endif
