#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "attention/window_attention.hpp"
#include "cpu/bfloat16.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX2

namespace lic_fast::attention {
namespace {

#include "cpu/vectors_avx2.inl"
// Windows, of these vectors.
#include "attention/windows.inl"
// The kernels.
#include "attention/backward.inl"
#include "attention/forward.inl"

}  // namespace

ForwardKernel avx2_forward() { return &Forward::run; }
BackwardKernel avx2_backward() { return &Backward::run; }

}  // namespace lic_fast::attention

#endif
