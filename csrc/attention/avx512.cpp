#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

// GCC takes what its own intrinsics leave undefined for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "attention/window_attention.hpp"
#include "cpu/bfloat16.hpp"
#include "cpu/normal_tail.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512

namespace lic_fast::attention {
namespace {

#include "cpu/vectors_avx512.inl"
// Windows, of these vectors.
#include "attention/windows.inl"
// The kernels.
#include "attention/backward.inl"
#include "attention/forward.inl"

}  // namespace

ForwardKernel avx512_forward() { return &Forward::run; }
BackwardKernel avx512_backward() { return &Backward::run; }

}  // namespace lic_fast::attention

#endif
