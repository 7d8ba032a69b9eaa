// For vectors that have no table of cpu/normal_tail.hpp in a register.

/// a (1 - Phi(a)), Phi the normal distribution's, for 0 <= a: erf by Abramowitz and Stegun, 7.1.26,
/// which is off by 1.5e-7.
LIC_FAST_TARGET LIC_FAST_INLINE Vector normal_tail(Vector a) {
  a = minimum(Vector::all(10), a);  // beyond it nothing is; in this order a NaN stays one
  const Vector size = multiply(a, Vector::all(0.70710678f));
  const Vector t = divide(Vector::all(1), fused(Vector::all(0.3275911f), size, Vector::all(1)));
  Vector sum = Vector::all(1.061405429f);
  sum = fused(sum, t, Vector::all(-1.453152027f));
  sum = fused(sum, t, Vector::all(1.421413741f));
  sum = fused(sum, t, Vector::all(-0.284496736f));
  sum = fused(sum, t, Vector::all(0.254829592f));
  const Vector power = power_of_two(multiply(multiply(size, size), Vector::all(-1.44269504f)));
  return multiply(multiply(multiply(Vector::all(0.5f), t), multiply(sum, power)), a);
}
