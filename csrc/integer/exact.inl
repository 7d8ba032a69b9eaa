// The steps of lic_fast/ops/exact.py, operation by operation, for the instruction set of the file
// that includes this.
//
// That file defines LIC_FAST_TARGET, the attribute of its functions, and a struct Floats of kLanes
// float32 with the operations used below, each of which is a single IEEE-754 operation; nothing
// contracts two of them into a fused multiply-add (-ffp-contract=off). Everything is in the
// including file's unnamed namespace.

template <std::size_t N>
LIC_FAST_TARGET LIC_FAST_INLINE Floats polynomial(const float (&coefficients)[N], Floats x) {
  Floats p = Floats::all(coefficients[N - 1]);
  for (std::size_t i = N - 1; i-- > 0;) p = p * x + Floats::all(coefficients[i]);
  return p;
}

LIC_FAST_TARGET LIC_FAST_INLINE Floats clamp(Floats x, float low, float high) {
  return at_most(at_least(x, Floats::all(low)), Floats::all(high));
}

LIC_FAST_TARGET LIC_FAST_INLINE Floats gelu(Floats x) {
  const Floats v = clamp(x, -kLimit, kLimit);
  const Floats p = v * polynomial(kErf, v * v) + Floats::all(0.5f);
  return x * clamp(p, 0.0f, 1.0f);
}

/// Of several vectors in step: each waits for its own last operation only.
template <std::size_t V>
LIC_FAST_TARGET LIC_FAST_INLINE void exp(Floats (&x)[V]) {
  Floats n[V], p[V];
  for (std::size_t j = 0; j < V; ++j) {
    x[j] = at_least(x[j], Floats::all(kLeastExponent));
    n[j] = rounded(x[j] * Floats::all(kLog2E));
    x[j] = x[j] - n[j] * Floats::all(kLn2High) - n[j] * Floats::all(kLn2Low);
  }
  constexpr std::size_t kCount = sizeof(kExp) / sizeof(*kExp);
  for (std::size_t j = 0; j < V; ++j) p[j] = Floats::all(kExp[kCount - 1]);
  for (std::size_t i = kCount - 1; i-- > 0;) {
    for (std::size_t j = 0; j < V; ++j) p[j] = p[j] * x[j] + Floats::all(kExp[i]);
  }
  for (std::size_t j = 0; j < V; ++j) {
    x[j] = (p[j] * x[j] + Floats::all(1.0f)) * power_of_two(n[j]);
  }
}

LIC_FAST_TARGET LIC_FAST_INLINE Floats exp(Floats x) {
  Floats one[1] = {x};
  exp(one);
  return one[0];
}

LIC_FAST_TARGET LIC_FAST_INLINE Floats tanh(Floats x) {
  const Floats one = Floats::all(1.0f);
  const Floats e = exp(magnitude(x) * Floats::all(-2.0f));
  return with_sign_of((one - e) / (one + e), x);
}

template <Activation kActivation>
LIC_FAST_TARGET LIC_FAST_INLINE Floats activated(Floats x) {
  if constexpr (kActivation == Activation::kRelu) return positive_or(x, Floats::all(0.0f));
  if constexpr (kActivation == Activation::kLeakyRelu) {
    return positive_or(x, x * Floats::all(kLeakySlope));
  }
  if constexpr (kActivation == Activation::kGelu) return gelu(x);
  return x;
}

LIC_FAST_TARGET LIC_FAST_INLINE Floats quantized(Floats x, const Quantization& q,
                                                 std::size_t channel) {
  const Floats moved =
      rounded(x * Floats::load(q.inverse_step + channel)) + Floats::load(q.zero + channel);
  return clamp(moved, 0.0f, q.top);
}

/// Of `count` channels that follow each other, whole vectors in place and what is left over aside.
struct Elements {
  LIC_FAST_TARGET static void quantize(const float* x, std::size_t count, const Quantization& q,
                                       std::uint8_t* high, std::uint8_t* low) {
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      quantized(Floats::load(x + i), q, i).store_halves(high == nullptr ? high : high + i, low + i);
    }
    if (i == count) return;
    const std::size_t rest = count - i;
    float aside[kLanes] = {};
    std::uint8_t halves[2][kLanes];
    std::memcpy(aside, x + i, rest * sizeof(float));
    quantized(Floats::load(aside), q, i)
        .store_halves(high == nullptr ? nullptr : halves[0], halves[1]);
    if (high != nullptr) std::memcpy(high + i, halves[0], rest);
    std::memcpy(low + i, halves[1], rest);
  }

  LIC_FAST_TARGET LIC_FAST_INLINE static Floats sum(const float* x, const float* lrp) {
    return Floats::load(x) + tanh(Floats::load(lrp)) * Floats::all(0.5f);
  }

  LIC_FAST_TARGET static void add_residual(const float* x, const float* lrp, std::size_t count,
                                           float* out) {
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) sum(x + i, lrp + i).store(out + i);
    if (i == count) return;
    const std::size_t bytes = (count - i) * sizeof(float);
    float aside[2][kLanes] = {};
    std::memcpy(aside[0], x + i, bytes);
    std::memcpy(aside[1], lrp + i, bytes);
    sum(aside[0], aside[1]).store(aside[0]);
    std::memcpy(out + i, aside[0], bytes);
  }

  LIC_FAST_TARGET static void gated(const float* x, const float* gate, const float* residual,
                                    std::size_t count, float* out) {
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      (Floats::load(x + i) * Floats::load(gate + i) + Floats::load(residual + i)).store(out + i);
    }
    for (; i < count; ++i) {
      const float product = x[i] * gate[i];
      out[i] = product + residual[i];
    }
  }
};
