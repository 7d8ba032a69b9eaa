#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "cpu/isa.hpp"
#include "integer/exact.hpp"
#include "integer/kernels.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::integer {
namespace {

constexpr std::size_t kPixels = 2, kBlocks = 1, kLanes = 1;

struct Sums {
  using Factors = const std::int8_t*;
  std::int32_t v[kBlock];

  static Sums zero() { return {}; }
  static Factors load(const std::int8_t* weights) { return weights; }
  static const std::uint8_t* four(const std::uint8_t* x) { return x; }
  void store(std::int32_t* to) const { std::memcpy(to, v, sizeof(v)); }
};

Sums shifted(Sums sums) {
  for (std::int32_t& v : sums.v) v *= 1 << kHalfBits;
  return sums;
}

Sums added(Sums sums, const std::uint8_t* x, const std::int8_t* weights) {
  for (std::size_t lane = 0; lane < kBlock; ++lane) {
    for (std::size_t i = 0; i < kQuad; ++i) sums.v[lane] += x[i] * weights[lane * kQuad + i];
  }
  return sums;
}

/// One int32, or a pair of int16.
struct Ints {
  std::int32_t v;

  static Ints zero() { return {0}; }
  static Ints load(const std::int32_t* x) { return {*x}; }
  static Ints pair(const std::int16_t* x) {
    const auto low = static_cast<std::uint16_t>(x[0]), high = static_cast<std::uint16_t>(x[1]);
    return {static_cast<std::int32_t>(low | static_cast<std::uint32_t>(high) << 16)};
  }
  template <class F>
  static Ints of(F x) {
    return {static_cast<std::int32_t>(x.v)};
  }
};

Ints operator+(Ints a, Ints b) { return {a.v + b.v}; }
Ints with_products(Ints sums, Ints x, Ints y) {
  const auto low = [](Ints pair) { return static_cast<std::int16_t>(pair.v & 0xFFFF); };
  return {sums.v + low(x) * low(y) + (x.v >> 16) * (y.v >> 16)};
}
std::int32_t sum(Ints x) { return x.v; }

/// One float32. What is not a number is below everything, as in the vectors.
struct Floats {
  float v;

  static Floats all(float x) { return {x}; }
  static Floats load(const float* x) { return {*x}; }
  static Floats sums(const std::int32_t* x, const std::int32_t* bias) {
    return {static_cast<float>(*x + *bias)};
  }
  static Floats of(Ints x) { return {static_cast<float>(x.v)}; }
  void store(float* to) const { *to = v; }
  void store_words(std::int16_t* to) const { *to = static_cast<std::int16_t>(v); }
  void store_halves(std::uint8_t* high, std::uint8_t* low) const {
    const auto x = static_cast<std::int32_t>(v);
    if (high != nullptr) *high = static_cast<std::uint8_t>(x >> kHalfBits);
    if (low != nullptr) *low = static_cast<std::uint8_t>(x & kHalfTop);
  }
};

Floats operator+(Floats a, Floats b) { return {a.v + b.v}; }
Floats operator-(Floats a, Floats b) { return {a.v - b.v}; }
Floats operator*(Floats a, Floats b) { return {a.v * b.v}; }
Floats operator/(Floats a, Floats b) { return {a.v / b.v}; }
Floats at_least(Floats x, Floats low) { return x.v > low.v ? x : low; }
float largest(Floats x) { return x.v; }
Floats at_most(Floats x, Floats high) { return x.v < high.v ? x : high; }
/// To even, in the rounding mode that a program starts with.
Floats rounded(Floats x) { return {std::nearbyint(x.v)}; }
Floats positive_or(Floats x, Floats other) { return x.v > 0.0f ? x : other; }
Floats magnitude(Floats x) { return {std::fabs(x.v)}; }
Floats with_sign_of(Floats x, Floats sign) { return {std::copysign(x.v, sign.v)}; }
Floats power_of_two(Floats n) {
  const std::int32_t bits = (static_cast<std::int32_t>(n.v) + 127) * (1 << 23);
  Floats power{};
  std::memcpy(&power.v, &bits, sizeof(bits));
  return power;
}

#include "integer/exact.inl"
//
#include "integer/transformer.inl"
//
#include "integer/end.inl"
//
#include "integer/rows.inl"

}  // namespace

const Kernels kScalarKernels{
    &Kernel::run,          &Elements::quantize, &Elements::add_residual,  &Elements::gated,
    &Transformer::sigmoid, &Transformer::words, &Transformer::layer_norm, &Transformer::attend};

}  // namespace lic_fast::integer
