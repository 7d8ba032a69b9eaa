// Rows of channels, for the instruction set of the file that includes this: it defines
// LIC_FAST_TARGET and the vectors of cpu/vectors_*.inl in its unnamed namespace.

#include "cpu/activations.inl"
#include "cpu/normalise.inl"
// Of these.
#include "channels/functions.inl"

template <class T>
struct Kernels {
  static constexpr std::size_t kWidth = Vector::kWidth;

  LIC_FAST_TARGET LIC_FAST_INLINE static const T* row(const Rows& rows, std::size_t i) {
    return static_cast<const T*>(rows.data) + i * rows.stride;
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static T* out_row(const Problem& p, std::size_t i) {
    return static_cast<T*>(p.out) + i * p.out_stride;
  }

  /// function(vectors of the operands) of every element.
  template <int kOperands, class Function>
  LIC_FAST_TARGET LIC_FAST_INLINE static void each_element(const Problem& p, std::size_t first,
                                                           std::size_t last,
                                                           const Function& function) {
    for (std::size_t i = first; i < last; ++i) {
      const T* const x = row(p.x, i);
      const T* const y = kOperands > 1 ? row(p.y, i) : nullptr;
      const T* const z = kOperands > 2 ? row(p.z, i) : nullptr;
      T* const out = out_row(p, i);
      for (std::size_t c = 0; c < p.channels; c += kWidth) {
        const std::size_t count = std::min(kWidth, p.channels - c);
        const Vector none = Vector::zero();
        const Vector a = load_some(x + c, count);
        const Vector b = kOperands > 1 ? load_some(y + c, count) : none;
        const Vector d = kOperands > 2 ? load_some(z + c, count) : none;
        store_some(function(a, b, d), out + c, count);
      }
    }
  }

  LIC_FAST_TARGET static void layer_norm(const Problem& p, std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i) {
      normalise(row(p.x, i), p.channels, p.weight, p.bias, p.number, out_row(p, i));
    }
  }

  LIC_FAST_TARGET static void run(const Problem& p, std::size_t first, std::size_t last) {
    switch (p.operation) {
      case Operation::kLayerNorm:
        return layer_norm(p, first, last);
      case Operation::kSquare:
        return each_element<1>(p, first, last, Square{});
      case Operation::kSum:
        return each_element<2>(p, first, last, Sum{p.number});
      case Operation::kGate:
        return each_element<3>(p, first, last, Gate{});
      case Operation::kRelu:
        return each_element<1>(p, first, last, Relu{});
      case Operation::kLeakyRelu:
        return each_element<1>(p, first, last, LeakyRelu{p.number});
      case Operation::kGelu:
        return each_element<1>(p, first, last, Gelu{});
      case Operation::kSigmoid:
        return each_element<1>(p, first, last, Sigmoid{});
      case Operation::kTanh:
        return each_element<1>(p, first, last, Each<hyperbolic_tangent>{});
      case Operation::kExp:
        return each_element<1>(p, first, last, Each<exponential>{});
      case Operation::kRoot:
        return each_element<1>(p, first, last, Root{});
      case Operation::kAbsolute:
        return each_element<1>(p, first, last, Absolute{});
      case Operation::kTimes:
        return each_element<1>(p, first, last, Times{p.number});
      case Operation::kPlus:
        return each_element<1>(p, first, last, Plus{p.number});
      case Operation::kMultiply:
        return each_element<2>(p, first, last, Multiply{});
      case Operation::kDivide:
        return each_element<2>(p, first, last, Divide{});
      case Operation::kSubtract:
        return each_element<2>(p, first, last, Subtract{});
      case Operation::kMaximum:
        return each_element<2>(p, first, last, Each<larger>{});
      case Operation::kMinimum:
        return each_element<2>(p, first, last, Each<smaller>{});
    }
  }
};

void run_rows(const Problem& problem, std::size_t first, std::size_t last) {
  if (problem.bfloat16) {
    Kernels<std::uint16_t>::run(problem, first, last);
  } else {
    Kernels<float>::run(problem, first, last);
  }
}
