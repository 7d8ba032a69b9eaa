// Products of words of 16 bits for those of floats, for files that include cpu/products.inl;
// words_*.inl define `with_products(sums, x, w)`, sums of int32 and of the products of two words in
// each lane, and `larger_size(sizes, x)`.
//
// A word is a number over a scale, one for each row and one for each output, rounded; what limits
// it is cpu/words.hpp.

/// Two words at once; what looks like floats are sums of 32 bits.
struct Words : TwoAtOnce<std::int16_t> {
  static constexpr bool kScaled = true;
  struct Scales {
    const float* rows;
    const float* outputs;  // of a panel,
    std::size_t panel;     // and so far apart for two of them
    bool onto;             // whether the sums are added to those that are in their place
  };

  LIC_FAST_TARGET LIC_FAST_INLINE static Vector accumulate(Vector sum, Vector x, Vector w) {
    return with_products(sum, x, w);
  }

  /// The sum of row t and vector v of panels as a number, and what of `start` belongs to it.
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector number(Vector sum, const Scales& scales,
                                                       const float* start, std::size_t t,
                                                       std::size_t v) {
    const float* const outputs = scales.outputs + v / kVectors * scales.panel;
    const Vector scale =
        multiply(Vector::all(scales.rows[t]), Vector::load(outputs + v % kVectors * kWidth));
    return fused(numbers_of(sum), scale, Vector::load(start + v * kWidth));
  }

  /// Writes the sums as numbers, (kCount, kAcross) vectors, behind `start` or what is there.
  template <std::size_t kCount, std::size_t kAcross>
  LIC_FAST_TARGET LIC_FAST_INLINE static void store(const Vector (&sums)[kCount][kAcross],
                                                    const Scales& scales, const float* start,
                                                    float* out) {
    alignas(64) static constexpr float kZero[kAcross * kWidth] = {};
    const float* const before = scales.onto ? out : start == nullptr ? kZero : start;
    const std::size_t row = scales.onto ? kAcross * kWidth : 0;
    LIC_FAST_UNROLL(8)
    for (std::size_t v = 0; v < kAcross; ++v) {
      LIC_FAST_UNROLL(6)
      for (std::size_t t = 0; t < kCount; ++t) {
        number(sums[t][v], scales, before + t * row, t, v).store(out + (t * kAcross + v) * kWidth);
      }
    }
  }

  /// Numbers, as many as fill vectors, as words of at most `limit`, and what the words are to be
  /// multiplied by: no number where one of them is none.
  LIC_FAST_TARGET LIC_FAST_INLINE static float make(const float* x, std::size_t count, float limit,
                                                    std::int16_t* out) {
    Vector most = Vector::zero();
    for (std::size_t c = 0; c < count; c += kWidth) most = larger_size(most, Vector::load(x + c));
    // No number for such and for infinity.
    const float top = largest(most) + total(multiply(most, Vector::zero()));
    // Numbers so small that this is infinite are none beside any others.
    const float factor = limit / top;
    const Vector inverse = Vector::all(factor <= 3e38f ? factor : 0);
    for (std::size_t c = 0; c < count; c += kWidth) {
      store_words(multiply(Vector::load(x + c), inverse), out + c);
    }
    return top / limit;
  }
};
