// Functions of vectors, included behind their operations.

/// 2^x for x <= 128, infinity there, and 0 below -125, where float32 soon has no normal numbers
/// left: 2^n 2^r with n the nearest integer and r in [-1/2, 1/2] by the polynomial of degree 5 that
/// is off by 7.5e-8 of the result at most (Remez's algorithm), 2.2e-7 with the rounding of its
/// steps.
LIC_FAST_TARGET LIC_FAST_INLINE Vector power_of_two(Vector x) {
  const Vector kept = x;
  x = maximum(Vector::all(-125.0f), x);  // in this order a NaN stays one
  const Vector n = nearest(x);
  const Vector r = subtract(x, n);
  Vector sum = Vector::all(1.3276475e-3f);
  sum = fused(sum, r, Vector::all(9.675541e-3f));
  sum = fused(sum, r, Vector::all(5.5507131e-2f));
  sum = fused(sum, r, Vector::all(0.2402212f));
  sum = fused(sum, r, Vector::all(0.69314694f));
  sum = fused(sum, r, Vector::all(1.0f));
  return zero_below(scaled(sum, n), kept, Vector::all(-125.0f));
}

/// 1 / (1 + exp(-x)), which below -88.7 is 0, so that products with x are nothing, too.
LIC_FAST_TARGET LIC_FAST_INLINE Vector sigmoid(Vector x) {
  const Vector bits = minimum(Vector::all(128.0f), multiply(x, Vector::all(-1.44269504f)));
  return divide(Vector::all(1.0f), add(Vector::all(1.0f), power_of_two(bits)));
}

/// A vector of which only the first `count` numbers are there; the others are zero.
template <class T>
LIC_FAST_TARGET LIC_FAST_INLINE Vector load_some(const T* x, std::size_t count) {
  if (count == Vector::kWidth) return Vector::load(x);
  float some[Vector::kWidth] = {};
  for (std::size_t i = 0; i < count; ++i) some[i] = cpu::wide(x[i]);
  return Vector::load(some);
}
template <class T>
LIC_FAST_TARGET LIC_FAST_INLINE void store_some(Vector v, T* x, std::size_t count) {
  if (count == Vector::kWidth) {
    v.store(x);
    return;
  }
  float some[Vector::kWidth];
  v.store(some);
  for (std::size_t i = 0; i < count; ++i) x[i] = cpu::narrow<T>(some[i]);
}
