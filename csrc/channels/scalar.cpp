// Plain C++, which a compiler may turn into whatever vectors its baseline has.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "channels/channels.hpp"
#include "cpu/bfloat16.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::channels {
namespace {

#include "cpu/vectors_scalar.inl"
// The kernel, of these vectors.
#include "channels/rows.inl"

}  // namespace

Kernel scalar_kernel() { return &run_rows; }

}  // namespace lic_fast::channels
