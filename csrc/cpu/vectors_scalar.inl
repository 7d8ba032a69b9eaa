// Floats in plain C++, which a compiler may turn into whatever vectors its baseline has; see
// vectors_avx2.inl.

struct Vector {
  static constexpr std::size_t kWidth = 4;
  float v[kWidth];

  static Vector zero() { return all(0); }
  static Vector all(float x) { return {{x, x, x, x}}; }
  template <class T>
  static Vector load(const T* x) {
    return {{cpu::wide(x[0]), cpu::wide(x[1]), cpu::wide(x[2]), cpu::wide(x[3])}};
  }
  template <class T>
  void store(T* x) const {
    for (std::size_t i = 0; i < kWidth; ++i) x[i] = cpu::narrow<T>(v[i]);
  }
};

struct Eight {
  float v[8];

  template <class T>
  static Eight load(const T* x) {
    Eight eight;
    for (std::size_t i = 0; i < 8; ++i) eight.v[i] = cpu::wide(x[i]);
    return eight;
  }
  template <class T>
  void store(T* x) const {
    for (std::size_t i = 0; i < 8; ++i) x[i] = cpu::narrow<T>(v[i]);
  }
};

LIC_FAST_INLINE void transpose(Eight* rows) {
  for (std::size_t i = 0; i < 8; ++i) {
    for (std::size_t j = 0; j < i; ++j) std::swap(rows[i].v[j], rows[j].v[i]);
  }
}

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
LIC_FAST_INLINE Vector divide(Vector a, Vector b) {
  return each(a, b, [](float x, float y) { return x / y; });
}
LIC_FAST_INLINE Vector root(Vector a) {
  return each(a, a, [](float x, float) { return std::sqrt(x); });
}
LIC_FAST_INLINE Vector fused(Vector a, Vector b, Vector c) { return add(multiply(a, b), c); }
LIC_FAST_INLINE Vector maximum(Vector a, Vector b) {
  return each(a, b, [](float x, float y) { return x > y ? x : y; });
}
LIC_FAST_INLINE Vector minimum(Vector a, Vector b) {
  return each(a, b, [](float x, float y) { return x < y ? x : y; });
}
LIC_FAST_INLINE Vector nearest(Vector a) {
  return each(a, a, [](float x, float) { return std::nearbyintf(x); });
}
LIC_FAST_INLINE Vector scaled(Vector a, Vector n) {
  return each(a, n,
              [](float x, float y) { return y == y ? std::ldexp(x, static_cast<int>(y)) : y; });
}
LIC_FAST_INLINE Vector zero_below(Vector a, Vector x, Vector bound) {
  Vector out;
  for (std::size_t i = 0; i < Vector::kWidth; ++i) out.v[i] = x.v[i] < bound.v[i] ? 0 : a.v[i];
  return out;
}
LIC_FAST_INLINE float total(Vector a) { return a.v[0] + a.v[1] + a.v[2] + a.v[3]; }

#include "cpu/vectors_functions.inl"
#include "cpu/vectors_tail.inl"
