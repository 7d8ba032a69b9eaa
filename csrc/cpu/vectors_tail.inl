// For vectors that have no table of cpu/normal_tail.hpp in a register.

/// a (1 - Phi(a)), Phi the normal distribution's, for 0 <= a, off by 2e-7 at most.
///
/// It is a over the eighth power of a polynomial, as in Abramowitz and Stegun's 7.1.27 and 7.1.28,
/// fitted to what is returned (weighted least squares, Lawson's algorithm): off by 4.2e-8 before
/// float32 rounds.
LIC_FAST_TARGET LIC_FAST_INLINE Vector normal_tail(Vector a) {
  a = minimum(Vector::all(100), a);  // over infinity it is nothing; in this order a NaN stays one
  Vector power = Vector::all(3.3546030e-6f);
  power = fused(power, a, Vector::all(-2.0382558e-5f));
  power = fused(power, a, Vector::all(1.1809648e-4f));
  power = fused(power, a, Vector::all(8.7481254e-5f));
  power = fused(power, a, Vector::all(1.1256265e-3f));
  power = fused(power, a, Vector::all(9.3158055e-3f));
  power = fused(power, a, Vector::all(4.8870396e-2f));
  power = fused(power, a, Vector::all(0.10875200f));
  power = fused(power, a, Vector::all(1.0905083f));
  power = multiply(power, power);
  power = multiply(power, power);
  return divide(a, multiply(power, power));
}
