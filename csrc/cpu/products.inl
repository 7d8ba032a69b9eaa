// Products of matrices whose sums stay in registers, for files that include cpu/vectors_*.inl and
// cpu/panels.hpp inside an unnamed namespace: rows of numbers by panels of weights.

inline constexpr std::size_t kWidth = Vector::kWidth;
/// Vectors of a panel.
inline constexpr std::size_t kVectors = cpu::kPanel / kWidth;
/// Rows and panels whose products are summed in registers: 24 of 32 sums, or 12 of 16.
inline constexpr std::size_t kRows = 6;
inline constexpr std::size_t kTogether = kVectors == 1 ? cpu::kMostPanels : 1;

/// Of sums that are the results as they are.
struct Unscaled {
  struct Scales {};
  static constexpr bool kScaled = false;

  /// The sum of row t and vector v of panels as a number; `start` is sum_products'.
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector number(Vector sum, const Scales&, const float*,
                                                       std::size_t, std::size_t) {
    return sum;
  }

  template <std::size_t kCount, std::size_t kAcross>
  LIC_FAST_TARGET LIC_FAST_INLINE static void store(const Vector (&sums)[kCount][kAcross],
                                                    const Scales&, const float*, float* out) {
    LIC_FAST_UNROLL(6)
    for (std::size_t t = 0; t < kCount; ++t) {
      LIC_FAST_UNROLL(8)
      for (std::size_t v = 0; v < kAcross; ++v) sums[t][v].store(out + (t * kAcross + v) * kWidth);
    }
  }
};

/// How numbers are multiplied: `kStep` of a row at once, by as many weights of each output.
struct Floats : Unscaled {
  using Number = float;
  static constexpr std::size_t kStep = 1;

  LIC_FAST_TARGET LIC_FAST_INLINE static Vector all(const float* x) { return Vector::all(*x); }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector weights(const float* w) { return Vector::load(w); }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector accumulate(Vector sum, Vector x, Vector w) {
    return fused(x, w, sum);
  }
};

/// The operands of products of two 16-bit numbers at once, as bits: a pair of a row in every lane,
/// and a vector of pairs of weights.
template <class T>
struct TwoAtOnce : Unscaled {
  using Number = T;
  static constexpr std::size_t kStep = 2;

  LIC_FAST_TARGET LIC_FAST_INLINE static Vector all(const T* x) {
    float pair = 0;
    std::memcpy(&pair, x, sizeof pair);
    return Vector::all(pair);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector weights(const T* w) {
    return Vector::load(reinterpret_cast<const float*>(w));
  }
};

/// Products of kCount rows and kPan panels, in registers.
///
/// `x` is the first of rows `row` numbers apart, `weights` the first of panels `panel` numbers
/// apart, each (steps, kPanel, kStep). The sums begin with `start`, (kPan, kPanel), or with zero
/// where it is null or they are of words.
template <class Product, std::size_t kCount, std::size_t kPan>
LIC_FAST_TARGET LIC_FAST_INLINE void sum_products(const typename Product::Number* x,
                                                  std::size_t row,
                                                  const typename Product::Number* weights,
                                                  std::size_t panel, std::size_t steps,
                                                  const float* start,
                                                  Vector (&sums)[kCount][kPan * kVectors]) {
  constexpr std::size_t kAcross = kPan * kVectors, kStep = Product::kStep;
  LIC_FAST_UNROLL(8)
  for (std::size_t v = 0; v < kAcross; ++v) {
    const bool zero = Product::kScaled || start == nullptr;
    const Vector first = zero ? Vector::zero() : Vector::load(start + v * kWidth);
    LIC_FAST_UNROLL(6)
    for (std::size_t t = 0; t < kCount; ++t) sums[t][v] = first;
  }
  for (std::size_t i = 0; i < steps; ++i) {
    Vector w[kAcross];
    LIC_FAST_UNROLL(8)
    for (std::size_t v = 0; v < kAcross; ++v) {
      w[v] = Product::weights(weights + v / kVectors * panel +
                              (i * cpu::kPanel + v % kVectors * kWidth) * kStep);
    }
    LIC_FAST_UNROLL(6)
    for (std::size_t t = 0; t < kCount; ++t) {
      const Vector all = Product::all(x + t * row + i * kStep);
      LIC_FAST_UNROLL(8)
      for (std::size_t v = 0; v < kAcross; ++v) {
        sums[t][v] = Product::accumulate(sums[t][v], all, w[v]);
      }
    }
  }
}

/// The same to `out`, (kCount, kPan, kPanel); those of words are multiplied by `scales`.
template <class Product, std::size_t kCount, std::size_t kPan>
LIC_FAST_TARGET void multiply(const typename Product::Number* x, std::size_t row,
                              const typename Product::Number* weights, std::size_t panel,
                              std::size_t steps, const float* start,
                              const typename Product::Scales& scales, float* out) {
  Vector sums[kCount][kPan * kVectors];
  sum_products<Product, kCount, kPan>(x, row, weights, panel, steps, start, sums);
  Product::store(sums, scales, start, out);
}

template <class Product>
using Multiply = void (*)(const typename Product::Number*, std::size_t,
                          const typename Product::Number*, std::size_t, std::size_t, const float*,
                          const typename Product::Scales&, float*);

template <class Product, std::size_t kPan>
Multiply<Product> for_rows(std::size_t rows) {
  constexpr Multiply<Product> kAll[] = {&multiply<Product, 1, kPan>, &multiply<Product, 2, kPan>,
                                        &multiply<Product, 3, kPan>, &multiply<Product, 4, kPan>,
                                        &multiply<Product, 5, kPan>, &multiply<Product, 6, kPan>};
  return kAll[rows - 1];
}

/// That of at most kRows rows and at most kTogether panels.
template <class Product>
Multiply<Product> multiplication(std::size_t rows, std::size_t panels) {
  if constexpr (kTogether > 1) {
    if (panels == 4) return for_rows<Product, 4>(rows);
    if (panels == 3) return for_rows<Product, 3>(rows);
    if (panels == 2) return for_rows<Product, 2>(rows);
  }
  return for_rows<Product, 1>(rows);
}
