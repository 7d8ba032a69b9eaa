// What stands before and behind the products of a map, for files that include cpu/vectors_*.inl
// inside an unnamed namespace.

#include "cpu/activations.inl"
#include "cpu/normalise.inl"

/// A row's norm, squares or numbers as they are, and zero from its end to `size`.
template <class From, class To>
LIC_FAST_TARGET LIC_FAST_INLINE void prepare_row(const Problem& p, const From* from, To* to,
                                                 std::size_t size) {
  constexpr std::size_t kWidth = Vector::kWidth;
  const std::size_t inputs = p.first.inputs;
  if (p.before == Before::kNorm) {
    normalise(from, inputs, p.norm_weight, p.norm_bias, p.epsilon, to);
  } else {
    for (std::size_t c = 0; c < inputs; c += kWidth) {
      const std::size_t here = std::min(kWidth, inputs - c);
      const Vector x = load_some(from + c, here);
      store_some(p.before == Before::kSquare ? multiply(x, x) : x, to + c, here);
    }
  }
  std::fill(to + inputs, to + size, To{});
}

/// Where the sums of products go, and what becomes of them.
template <class To>
struct End {
  static constexpr std::size_t kWidth = Vector::kWidth;

  To* out;
  std::size_t stride, outputs;
  const To* residual;  // null: none
  std::size_t residual_stride;

  enum class Kind { kNone, kGelu, kAny, kTimesRoot, kOverRoot };
  using Function = void (*)(const End&, Activation, const float*, std::size_t, std::size_t,
                            std::size_t, std::size_t);

  Function function(After after, Activation activation) const {
    if (after == After::kTimesRoot) return &write<Kind::kTimesRoot, true>;
    if (after == After::kOverRoot) return &write<Kind::kOverRoot, true>;
    const bool sum = residual != nullptr;
    switch (activation) {
      case Activation::kNone:
        return sum ? &write<Kind::kNone, true> : &write<Kind::kNone, false>;
      case Activation::kGelu:
        return sum ? &write<Kind::kGelu, true> : &write<Kind::kGelu, false>;
      default:
        return sum ? &write<Kind::kAny, true> : &write<Kind::kAny, false>;
    }
  }

  LIC_FAST_TARGET void ask_for(std::size_t row, std::size_t count, std::size_t first,
                               std::size_t size) const {
    const std::size_t there = std::min(size, outputs - std::min(outputs, first));
    for (std::size_t t = 0; t < count; ++t) {
      const char* const to = reinterpret_cast<const char*>(out + (row + t) * stride + first);
      for (std::size_t at = 0; at < there * sizeof(To); at += 64)
        LIC_FAST_PREFETCH_WRITTEN(to + at);
    }
  }

  /// What becomes of sums x beside the residual's numbers.
  template <Kind kKind, bool kSum>
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector finished(Vector x, Vector other,
                                                         Activation activation) {
    if constexpr (kKind == Kind::kTimesRoot) return multiply(other, root(x));
    if constexpr (kKind == Kind::kOverRoot) return divide(other, root(x));
    if constexpr (kSum) x = add(x, other);
    if constexpr (kKind == Kind::kGelu) return gelu(x);
    return kKind == Kind::kAny ? activate(x, activation) : x;
  }

  /// Of `count` rows from `row` on the outputs from `first` on, of which there are `size` sums.
  template <Kind kKind, bool kSum>
  LIC_FAST_TARGET static void write(const End& end, Activation activation, const float* sums,
                                    std::size_t row, std::size_t count, std::size_t first,
                                    std::size_t size) {
    const std::size_t there = std::min(size, end.outputs - std::min(end.outputs, first));
    for (std::size_t t = 0; t < count; ++t, sums += size) {
      To* const out = end.out + (row + t) * end.stride + first;
      const To* const skip =
          kSum ? end.residual + (row + t) * end.residual_stride + first : nullptr;
      std::size_t o = 0;
      for (; o + kWidth <= there; o += kWidth) {
        const Vector other = kSum ? Vector::load(skip + o) : Vector::zero();
        finished<kKind, kSum>(Vector::load(sums + o), other, activation).store(out + o);
      }
      if (o == there) continue;
      const Vector other = kSum ? load_some(skip + o, there - o) : Vector::zero();
      store_some(finished<kKind, kSum>(Vector::load(sums + o), other, activation), out + o,
                 there - o);
    }
  }
};
