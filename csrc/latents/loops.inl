// Loops that a compiler vectorises by itself, for the instruction set of the including file, which
// defines LIC_FAST_TARGET. They are in its unnamed namespace.

LIC_FAST_TARGET bool quantize(const float* y, const float* mean, std::size_t count,
                              std::int16_t* symbols, float* y_hat) {
  // Adding and taking away 1.5 * 2^23 rounds to nearest, ties to even, what is below 2^22.
  constexpr float kRound = 12582912.0f;
  std::int32_t wide = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float x = y[i] - mean[i];
    wide |= !(std::fabs(x) < 32767.5f);  // so written that a NaN is wide
    const float rounded = std::copysign((x + kRound) - kRound, x);
    y_hat[i] = rounded + mean[i];
    // Through 32 bits, since a conversion to 16 that does not fit is undefined.
    symbols[i] = static_cast<std::int16_t>(
        static_cast<std::int32_t>(std::min(std::max(rounded, -32768.0f), 32767.0f)));
  }
  return wide == 0;
}
