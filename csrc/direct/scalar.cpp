// Plain C++, which a compiler may turn into whatever vectors its baseline has.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cpu/bfloat16.hpp"
#include "direct/convolution.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::direct {
namespace {

#include "cpu/vectors_scalar.inl"
// The kernel, of these vectors.
#include "direct/blocks.inl"
// That to few outputs.
#include "direct/few.inl"

}  // namespace

void scalar_kernel(const Part& part) { compute_block(part); }

void scalar_few_kernel(const Part& part) { compute_few(part); }

}  // namespace lic_fast::direct
