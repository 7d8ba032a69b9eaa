#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

#include "cpu/isa.hpp"
#include "integer/exact.hpp"
#include "integer/kernels.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::integer {
namespace {

constexpr std::size_t kPixels = 2, kBlocks = 1, kLanes = 1;
constexpr std::size_t kTiles = 2, kWinogradBlocks = 1, kWords = 16;

/// A sum, difference or product modulo 2^32, where wrapping is meant.
template <class F>
std::int32_t modular(std::int32_t a, std::int32_t b, F f) {
  return static_cast<std::int32_t>(f(static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(b)));
}

struct Sums {
  using Factors = const std::int8_t*;
  std::int32_t v[kBlock];

  static Sums zero() { return {}; }
  static Factors load(const std::int8_t* weights) { return weights; }
  static const std::int16_t* load(const std::int16_t* weights) { return weights; }
  static const std::int16_t* pair(const std::int16_t* x) { return x; }
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

Sums with_products(Sums sums, const std::int16_t* x, const std::int16_t* weights) {
  for (std::size_t lane = 0; lane < kBlock; ++lane) {
    for (std::size_t i = 0; i < kPair; ++i) {
      sums.v[lane] = modular(sums.v[lane], x[i] * weights[lane * kPair + i], std::plus<>());
    }
  }
  return sums;
}

/// One int32, or a pair of int16.
struct Ints {
  std::int32_t v;

  static Ints zero() { return {0}; }
  static Ints all(std::int32_t x) { return {x}; }
  static Ints load(const std::int32_t* x) { return {*x}; }
  static Ints pair(const std::int16_t* x) {
    const auto low = static_cast<std::uint16_t>(x[0]), high = static_cast<std::uint16_t>(x[1]);
    return {static_cast<std::int32_t>(low | static_cast<std::uint32_t>(high) << 16)};
  }
  void store(std::int32_t* to) const { *to = v; }
  template <class F>
  static Ints of(F x) {
    return {static_cast<std::int32_t>(x.v)};
  }
};

Ints operator+(Ints a, Ints b) { return {modular(a.v, b.v, std::plus<>())}; }
Ints operator-(Ints a, Ints b) { return {modular(a.v, b.v, std::minus<>())}; }
Ints operator*(Ints a, Ints b) { return {modular(a.v, b.v, std::multiplies<>())}; }
template <int kPower>
Ints quotient(Ints x) {
  return {x.v >> kPower};
}
Ints shifted(Ints x) { return x * Ints{1 << kHalfBits}; }
Ints with_products(Ints sums, Ints x, Ints y) {
  const auto low = [](Ints pair) { return static_cast<std::int16_t>(pair.v & 0xFFFF); };
  return {sums.v + low(x) * low(y) + (x.v >> 16) * (y.v >> 16)};
}
std::int32_t sum(Ints x) { return x.v; }

void prefetch(const std::int16_t*) {}

/// kWords uint8.
struct Bytes {
  std::uint8_t v[kWords];

  static Bytes zero() { return {}; }
  static Bytes load(const std::uint8_t* x) {
    Bytes bytes;
    std::memcpy(bytes.v, x, kWords);
    return bytes;
  }
  bool in_range() const {
    return std::all_of(v, v + kWords, [](std::uint8_t x) { return x <= kHalfTop; });
  }
};

Bytes operator|(Bytes a, const Bytes& b) {
  for (std::size_t i = 0; i < kWords; ++i) a.v[i] = static_cast<std::uint8_t>(a.v[i] | b.v[i]);
  return a;
}

/// kWords int16, modulo 2^16.
struct Words {
  std::int16_t v[kWords];

  static Words of(const Bytes& x) {
    Words words;
    std::copy_n(x.v, kWords, words.v);
    return words;
  }
  static Words load(const std::int8_t* x) {
    Words words;
    std::copy_n(x, kWords, words.v);
    return words;
  }
  static Words all(std::int16_t x) {
    Words words;
    std::fill_n(words.v, kWords, x);
    return words;
  }
  void store(std::int16_t* to) const { std::memcpy(to, v, sizeof(v)); }
};

Words operator+(Words a, const Words& b) {
  for (std::size_t i = 0; i < kWords; ++i) a.v[i] = static_cast<std::int16_t>(a.v[i] + b.v[i]);
  return a;
}
Words operator-(Words a, const Words& b) {
  for (std::size_t i = 0; i < kWords; ++i) a.v[i] = static_cast<std::int16_t>(a.v[i] - b.v[i]);
  return a;
}
Words shifted(Words x) {
  for (std::int16_t& v : x.v) v = static_cast<std::int16_t>(v * (1 << kHalfBits));
  return x;
}

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

#include "integer/kernels.inl"

}  // namespace

const Kernels kScalarKernels{&Kernel::run,
                             false,
                             nullptr,
                             {&Winograd<Two>::run, &Winograd<Four>::run},
                             1,
                             4,
                             &Elements::quantize,
                             &Elements::add_residual,
                             &Elements::gated,
                             &Transformer::sigmoid,
                             &Transformer::words,
                             &Transformer::layer_norm,
                             &Transformer::attend};

}  // namespace lic_fast::integer
