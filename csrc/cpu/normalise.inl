// Layer norm of a row, for files that include cpu/vectors_*.inl inside an unnamed namespace.

/// (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias, of float32 or bfloat16 and to
/// either. Ba, Kiros and Hinton, "Layer Normalization", 2016, section 3.
template <class From, class To>
LIC_FAST_TARGET void normalise(const From* x, std::size_t channels, const float* weight,
                               const float* bias, float epsilon, To* out) {
  constexpr std::size_t kWidth = Vector::kWidth;
  const std::size_t whole = channels / kWidth * kWidth, rest = channels - whole;
  const float share = 1.0f / static_cast<float>(channels);
  Vector sum = load_some(x + whole, rest);
  for (std::size_t c = 0; c < whole; c += kWidth) sum = add(sum, Vector::load(x + c));
  const float average = total(sum) * share;
  const Vector mean = Vector::all(average);
  Vector squares = Vector::zero();
  for (std::size_t c = 0; c < whole; c += kWidth) {
    const Vector distance = subtract(Vector::load(x + c), mean);
    squares = fused(distance, distance, squares);
  }
  float square = total(squares);
  for (std::size_t c = whole; c < channels; ++c) {
    const float distance = cpu::wide(x[c]) - average;
    square += distance * distance;
  }
  const Vector factor = Vector::all(1.0f / std::sqrt(square * share + epsilon));
  for (std::size_t c = 0; c < channels; c += kWidth) {
    const std::size_t count = std::min(kWidth, channels - c);
    const Vector normal = multiply(subtract(load_some(x + c, count), mean), factor);
    store_some(fused(normal, load_some(weight + c, count), load_some(bias + c, count)), out + c,
               count);
  }
}
