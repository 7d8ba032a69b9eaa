// Plain C++, which a compiler may turn into whatever vectors its baseline has.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "attention/window_attention.hpp"
#include "cpu/bfloat16.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::attention {
namespace {

#include "cpu/vectors_scalar.inl"
// Windows, of these vectors.
#include "attention/windows.inl"
// The kernels.
#include "attention/backward.inl"
#include "attention/forward.inl"

}  // namespace

ForwardKernel scalar_forward() { return &Forward::run; }
BackwardKernel scalar_backward() { return &Backward::run; }

}  // namespace lic_fast::attention
