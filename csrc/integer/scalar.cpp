#include <algorithm>
#include <cstring>

#include "cpu/isa.hpp"
#include "integer/conv.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::integer {
namespace {

constexpr std::size_t kPixels = 2, kBlocks = 1;

struct Sums {
  using Factors = const std::int8_t*;
  std::int32_t v[kBlock];

  static Sums zero() { return {}; }
  static Factors load(const std::int8_t* weights) { return weights; }
  static const std::uint8_t* four(const std::uint8_t* x) { return x; }
  void store(std::int32_t* to) const { std::memcpy(to, v, sizeof(v)); }
};

Sums shifted(Sums sums) {
  for (std::int32_t& v : sums.v) v *= 128;
  return sums;
}

Sums added(Sums sums, const std::uint8_t* x, const std::int8_t* weights) {
  for (std::size_t lane = 0; lane < kBlock; ++lane) {
    for (std::size_t i = 0; i < kQuad; ++i) sums.v[lane] += x[i] * weights[lane * kQuad + i];
  }
  return sums;
}

#include "integer/rows.inl"

}  // namespace

RowsKernel scalar_rows() { return &Kernel::run; }

}  // namespace lic_fast::integer
