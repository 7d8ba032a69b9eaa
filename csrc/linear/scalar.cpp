// Plain C++, which a compiler may turn into whatever vectors its baseline has.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cpu/bfloat16.hpp"
#include "linear/linear.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::linear {
namespace {

#include "cpu/vectors_scalar.inl"
// The kernel, of these vectors.
#include "linear/rows.inl"

}  // namespace

void scalar_kernel(const Problem& problem, std::size_t first, std::size_t last) {
  if (problem.bfloat16) {
    Block<Floats, std::uint16_t>{problem, first, last - first}.run();
  } else {
    Block<Floats, float>{problem, first, last - first}.run();
  }
}

}  // namespace lic_fast::linear
