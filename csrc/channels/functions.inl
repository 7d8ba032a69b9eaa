// What operations on rows of channels do to vectors of their operands, for the file that includes
// this.

struct Square {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
    return multiply(x, x);
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
struct Relu {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
    return maximum(Vector::zero(), x);
  }
};
struct LeakyRelu {
  float slope;
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
    return add(maximum(Vector::zero(), x),
               multiply(minimum(Vector::zero(), x), Vector::all(slope)));
  }
};
struct Gelu {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
    return gelu(x);
  }
};
struct Sigmoid {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
    return sigmoid(x);
  }
};
struct Root {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
    return root(x);
  }
};
struct Absolute {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
    return maximum(x, subtract(Vector::zero(), x));
  }
};
struct Times {
  float factor;
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
    return multiply(x, Vector::all(factor));
  }
};
struct Plus {
  float offset;
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector, Vector) const {
    return add(x, Vector::all(offset));
  }
};
struct Multiply {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector y, Vector) const {
    return multiply(x, y);
  }
};
struct Divide {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector y, Vector) const {
    return divide(x, y);
  }
};
struct Subtract {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector y, Vector) const {
    return subtract(x, y);
  }
};

inline float hyperbolic_tangent(float x, float) { return std::tanh(x); }
inline float exponential(float x, float) { return std::exp(x); }
inline float larger(float x, float y) { return x > y || x != x ? x : y; }
inline float smaller(float x, float y) { return x < y || x != x ? x : y; }

/// A function of numbers, one after another.
template <float (*kFunction)(float, float)>
struct Each {
  LIC_FAST_TARGET LIC_FAST_INLINE Vector operator()(Vector x, Vector y, Vector) const {
    float a[Vector::kWidth], b[Vector::kWidth];
    x.store(a);
    y.store(b);
    for (std::size_t i = 0; i < Vector::kWidth; ++i) a[i] = kFunction(a[i], b[i]);
    return Vector::load(a);
  }
};
