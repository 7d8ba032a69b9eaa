// Rows of channels, for the instruction set of the file that includes this: it defines
// LIC_FAST_TARGET and the vectors of cpu/vectors_*.inl in its unnamed namespace.

#include "cpu/normalise.inl"

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

  struct Square {
    LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
      return multiply(x, x);
    }
  };
  struct RootTimes {
    LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector y, Vector) const {
      return multiply(x, root(y));
    }
  };
  struct RootDivides {
    LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector y, Vector) const {
      return divide(x, root(y));
    }
  };
  struct Sum {
    float factor;
    LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector y, Vector) const {
      return fused(Vector::all(factor), y, x);
    }
  };
  struct Gate {
    LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector y, Vector z) const {
      return fused(x, sigmoid(y), z);
    }
  };
  struct Residual {
    LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector y, Vector) const {
      return add(x, subtract(sigmoid(add(y, y)), Vector::all(0.5f)));
    }
  };

  LIC_FAST_TARGET static void run(const Problem& p, std::size_t first, std::size_t last) {
    switch (p.operation) {
      case Operation::kLayerNorm:
        return layer_norm(p, first, last);
      case Operation::kSquare:
        return each_element<1>(p, first, last, Square{});
      case Operation::kRootTimes:
        return each_element<2>(p, first, last, RootTimes{});
      case Operation::kRootDivides:
        return each_element<2>(p, first, last, RootDivides{});
      case Operation::kSum:
        return each_element<2>(p, first, last, Sum{p.number});
      case Operation::kGate:
        return each_element<3>(p, first, last, Gate{});
      case Operation::kResidual:
        return each_element<2>(p, first, last, Residual{});
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
