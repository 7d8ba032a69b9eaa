// Activations of vectors, for files that include cpu/vectors_*.inl and cpu/activation.hpp.

/// x (1 + erf(x / sqrt 2)) / 2, erf by Abramowitz and Stegun, 7.1.26, which is off by 1.5e-7.
LIC_FAST_TARGET LIC_FAST_INLINE Vector gelu(Vector x) {
  const Vector negative = subtract(Vector::zero(), x);
  // Beyond 10 nothing changes, and infinity times zero would be no number.
  const Vector bounded = minimum(Vector::all(10), maximum(x, negative));
  const Vector size = multiply(bounded, Vector::all(0.70710678f));
  const Vector t = reciprocal(fused(Vector::all(0.3275911f), size, Vector::all(1)));
  Vector sum = Vector::all(1.061405429f);
  sum = fused(sum, t, Vector::all(-1.453152027f));
  sum = fused(sum, t, Vector::all(1.421413741f));
  sum = fused(sum, t, Vector::all(-0.284496736f));
  sum = fused(sum, t, Vector::all(0.254829592f));
  const Vector exponent = multiply(multiply(size, size), Vector::all(-1.44269504f));
  const Vector power = normal_power_of_two(exponent);
  // Half of 1 - erf(size): what is missing from x above zero, and what is left of it below.
  const Vector tail = multiply(multiply(Vector::all(0.5f), t), multiply(sum, power));
  return subtract(maximum(x, Vector::zero()), multiply(bounded, tail));
}

LIC_FAST_TARGET LIC_FAST_INLINE Vector activate(Vector x, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return maximum(Vector::zero(), x);  // in this order a NaN stays one
    case Activation::kLeakyRelu:
      return maximum(x, multiply(x, Vector::all(0.01f)));
    case Activation::kGelu:
      return gelu(x);
    default:
      return x;
  }
}
