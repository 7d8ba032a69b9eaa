// Plain C++, which a compiler may turn into whatever vectors its baseline has.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "attention/window_attention.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::attention {
namespace {

struct Vector {
  static constexpr std::size_t kWidth = 4;
  float v[kWidth];

  static Vector zero() { return all(0); }
  static Vector all(float x) { return {{x, x, x, x}}; }
  static Vector load(const float* x) { return {{x[0], x[1], x[2], x[3]}}; }
  void store(float* x) const { std::memcpy(x, v, sizeof v); }
};

template <class Operation>
LIC_FAST_INLINE Vector each(Vector a, Vector b, Operation operation) {
  Vector out;
  for (std::size_t i = 0; i < Vector::kWidth; ++i) out.v[i] = operation(a.v[i], b.v[i]);
  return out;
}

LIC_FAST_INLINE Vector add(Vector a, Vector b) {
  return each(a, b, [](float x, float y) { return x + y; });
}
LIC_FAST_INLINE Vector subtract(Vector a, Vector b) {
  return each(a, b, [](float x, float y) { return x - y; });
}
LIC_FAST_INLINE Vector multiply(Vector a, Vector b) {
  return each(a, b, [](float x, float y) { return x * y; });
}
LIC_FAST_INLINE Vector fused(Vector a, Vector b, Vector c) { return add(multiply(a, b), c); }
/// As the instructions do it: b where either is no number.
LIC_FAST_INLINE Vector maximum(Vector a, Vector b) {
  return each(a, b, [](float x, float y) { return x > y ? x : y; });
}
LIC_FAST_INLINE Vector nearest(Vector a) {
  return each(a, a, [](float x, float) { return std::nearbyintf(x); });
}
/// a 2^n for an integer n.
LIC_FAST_INLINE Vector scaled(Vector a, Vector n) {
  return each(a, n,
              [](float x, float y) { return y == y ? std::ldexp(x, static_cast<int>(y)) : y; });
}
LIC_FAST_INLINE Vector zero_below(Vector a, Vector x, Vector bound) {
  Vector out;
  for (std::size_t i = 0; i < Vector::kWidth; ++i) out.v[i] = x.v[i] < bound.v[i] ? 0 : a.v[i];
  return out;
}
LIC_FAST_INLINE float highest(Vector a) {
  return std::max(std::max(a.v[0], a.v[1]), std::max(a.v[2], a.v[3]));
}
LIC_FAST_INLINE float total(Vector a) { return a.v[0] + a.v[1] + a.v[2] + a.v[3]; }

#include "attention/band.inl"

}  // namespace

BandKernel scalar_band() { return &Band::run; }

}  // namespace lic_fast::attention
