// Plain C++, which a compiler may turn into whatever vectors its baseline has.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "cpu/bfloat16.hpp"
#include "winograd/winograd.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::winograd {
namespace {

#include "cpu/vectors_scalar.inl"
// The kernel, of these vectors.
#include "winograd/tiles.inl"

}  // namespace

const Kernels kScalarKernels = {kTogether, &read_tiles, &filter_panels, &multiply_panels,
                                &write_tiles};

}  // namespace lic_fast::winograd
