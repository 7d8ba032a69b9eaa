// Activations of vectors, for files that include cpu/vectors_*.inl and cpu/activation.hpp.

/// x Phi(x), Phi the normal distribution's: what is missing from x above zero, and what is left of
/// it below, is |x| (1 - Phi(|x|)). Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
LIC_FAST_TARGET LIC_FAST_INLINE Vector gelu(Vector x) {
  const Vector size = maximum(subtract(Vector::zero(), x), x);
  return subtract(maximum(x, Vector::zero()), normal_tail(size));
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
