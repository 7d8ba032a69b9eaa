// Linear maps of rows, for the instruction set of the file that includes this: it defines
// LIC_FAST_TARGET and the vectors of cpu/vectors_*.inl in its unnamed namespace, and how numbers
// are multiplied.

#include "cpu/products.inl"
#include "linear/around.inl"

/// Products of kRows rows and kPan panels with what is added to them, straight from the registers
/// in which they are summed to where they go, in whole panels.
template <class Product, std::size_t kPan, bool kSum, class To>
LIC_FAST_TARGET void multiply_to(const typename Product::Number* x, std::size_t row,
                                 const typename Product::Number* weights, std::size_t panel,
                                 std::size_t steps, const float* start,
                                 const typename Product::Scales& scales, To* out,
                                 std::size_t stride, const To* residual,
                                 std::size_t residual_stride) {
  constexpr std::size_t kAcross = kPan * kVectors;
  // As End::ask_for, whose loops over sizes that it does not know cost a tenth of the whole.
  LIC_FAST_UNROLL(6)
  for (std::size_t t = 0; t < kRows; ++t) {
    const char* const to = reinterpret_cast<const char*>(out + t * stride);
    for (std::size_t at = 0; at < kPan * cpu::kPanel * sizeof(To); at += 64)
      LIC_FAST_PREFETCH_WRITTEN(to + at);
  }
  Vector sums[kRows][kAcross];
  sum_products<Product, kRows, kPan>(x, row, weights, panel, steps, start, sums);
  LIC_FAST_UNROLL(6)
  for (std::size_t t = 0; t < kRows; ++t) {
    LIC_FAST_UNROLL(8)
    for (std::size_t v = 0; v < kAcross; ++v) {
      Vector number = Product::number(sums[t][v], scales, start, t, v);
      if constexpr (kSum) {
        number = add(number, Vector::load(residual + t * residual_stride + v * kWidth));
      }
      number.store(out + t * stride + v * kWidth);
    }
  }
}

/// `Product` is that of products.inl, T the type of the maps' numbers.
template <class Product, class T>
struct Block {
  using Number = typename Product::Number;
  static constexpr bool kScaled = Product::kScaled;

  const Problem& p;
  std::size_t first, count;  // rows

  template <class Data>
  LIC_FAST_TARGET LIC_FAST_INLINE auto row(const Rows<Data>& rows, std::size_t i) const {
    using Element = std::conditional_t<std::is_const_v<Data>, const T, T>;
    return static_cast<Element*>(rows.data) + (first + i) * rows.stride;
  }

  static const Number* weights(const Weights& w) {
    if constexpr (std::is_same_v<Number, float>) {
      return w.floats();
    } else if constexpr (kScaled) {
      return w.words();
    } else {
      return w.pairs();
    }
  }

  /// Numbers from one row that is multiplied to the next: words are made by whole vectors.
  static std::size_t row_size(const Weights& w) {
    return kScaled ? (w.inputs + kWidth - 1) / kWidth * kWidth : w.depth();
  }

  LIC_FAST_TARGET void run() const {
    // Of words the floats that they are made of.
    using Between = std::conditional_t<kScaled, float, Number>;
    static thread_local cpu::Lines<Number> inputs;
    static thread_local cpu::Lines<Between> hidden;
    std::size_t stride = p.x.stride;
    const Number* in = nullptr;
    float scales[kBlock];  // of the rows, where they are words
    if constexpr (std::is_same_v<Number, T>) in = row(p.x, 0);
    if (p.before != Before::kNothing || in == nullptr || p.first.depth() != p.first.inputs) {
      stride = row_size(p.first);
      in = prepare(cpu::scratch(inputs, kBlock * stride), stride, scales);
    }
    const Weights& last = p.second == nullptr ? p.first : *p.second;
    const End<T> end{row(p.out, 0), p.out.stride, last.outputs,
                     p.residual.data == nullptr ? nullptr : row(p.residual, 0), p.residual.stride};
    if (p.second == nullptr) {
      return multiply_by(p.first, in, stride, scales, p.after, p.activation, end);
    }
    const std::size_t width = row_size(last);
    Between* const between = cpu::scratch(hidden, kBlock * width);
    multiply_by(p.first, in, stride, scales, After::kActivation, p.activation,
                End<Between>{between, width, width, nullptr, 0});
    const Number* second = nullptr;
    if constexpr (kScaled) {
      Number* const words = cpu::scratch(inputs, kBlock * width);
      for (std::size_t i = 0; i < count; ++i) {
        scales[i] = Product::make(between + i * width, width, last.limit(), words + i * width);
      }
      second = words;
    } else {
      second = between;
    }
    multiply_by(last, second, width, scales, After::kActivation, Activation::kNone, end);
  }

  /// The rows as numbers that are multiplied, zero beyond their end.
  LIC_FAST_TARGET const Number* prepare(Number* out, std::size_t size, float* scales) const {
    for (std::size_t i = 0; i < count; ++i) {
      if constexpr (kScaled) {
        static thread_local cpu::Lines<float> memory;
        float* const numbers = cpu::scratch(memory, size);
        prepare_row(p, row(p.x, i), numbers, size);
        scales[i] = Product::make(numbers, size, p.first.limit(), out + i * size);
      } else {
        prepare_row(p, row(p.x, i), out + i * size, size);
      }
    }
    return out;
  }

  /// Has the rows of the next block on their way while this one is computed: a run of them is too
  /// short for the processor to see it coming.
  LIC_FAST_TARGET void ask_for(std::size_t i) const {
    if (first + i + kRows > p.rows) return;
    for (std::size_t t = 0; t < kRows; ++t) {
      const char* const from = reinterpret_cast<const char*>(row(p.x, i + t));
      const std::size_t bytes = p.first.inputs * sizeof(T);
      for (std::size_t at = 0; at < bytes; at += 64) LIC_FAST_PREFETCH(from + at);
      if (p.residual.data == nullptr || p.residual.data == p.x.data) continue;
      const char* const skip = reinterpret_cast<const char*>(row(p.residual, i + t));
      const std::size_t size = p.first.outputs * sizeof(T);
      for (std::size_t at = 0; at < size; at += 64) LIC_FAST_PREFETCH(skip + at);
    }
  }

  /// Writes kRows rows from `i` on of `across` whole panels from `begin` on, by multiply_to.
  template <class To>
  LIC_FAST_TARGET LIC_FAST_INLINE void add_to(const Weights& w, const Number* in,
                                              std::size_t stride, const float* scales,
                                              std::size_t begin, std::size_t across, std::size_t i,
                                              const End<To>& end) const {
    typename Product::Scales own{};
    if constexpr (kScaled) own = {scales, w.scales() + begin * kPanel, kPanel, false};
    const std::size_t first = begin * kPanel;
    const To* const residual =
        end.residual == nullptr ? nullptr : end.residual + i * end.residual_stride + first;
    const auto work = straight<To>(across, residual != nullptr);
    work(in, stride, weights(w) + begin * w.panel_size(), w.panel_size(),
         w.depth() / Product::kStep, w.bias() + first, own, end.out + i * end.stride + first,
         end.stride, residual, end.residual_stride);
  }

  template <class To>
  static auto straight(std::size_t panels, bool sum) {
    if constexpr (kTogether > 1) {
      if (panels == 4) return of_panels<To, 4>(sum);
      if (panels == 3) return of_panels<To, 3>(sum);
      if (panels == 2) return of_panels<To, 2>(sum);
    }
    return of_panels<To, 1>(sum);
  }
  template <class To, std::size_t kPan>
  static auto of_panels(bool sum) {
    return sum ? &multiply_to<Product, kPan, true, To> : &multiply_to<Product, kPan, false, To>;
  }

  /// Writes the activation of all products, with the bias and the residual.
  template <class To>
  LIC_FAST_TARGET void multiply_by(const Weights& w, const Number* in, std::size_t stride,
                                   const float* scales, After after, Activation activation,
                                   const End<To>& end) const {
    const std::size_t depth = w.depth(), panels = w.panels();
    const std::size_t summed = kScaled ? cpu::kSummed : depth;
    // Groups of panels of about one size: a single one would leave most registers empty.
    const std::size_t groups = (panels + kTogether - 1) / kTogether;
    const bool reads = &w == &p.first, writes = p.second == nullptr || &w == p.second;
    const auto write = end.function(after, activation);
    // With an activation, sums that go through memory take no longer.
    const bool direct =
        writes && depth <= summed && after == After::kActivation && activation == Activation::kNone;
    for (std::size_t group = 0; group < groups; ++group) {
      const std::size_t begin = group * panels / groups;
      const std::size_t across = (group + 1) * panels / groups - begin;
      for (std::size_t i = 0; i < count; i += kRows) {
        const std::size_t here = std::min(kRows, count - i);
        if (group == 0 && reads) ask_for(i + kBlock);
        if (direct && here == kRows && (begin + across) * kPanel <= end.outputs) {
          add_to(w, in + i * stride, stride, scales + i, begin, across, i, end);
          continue;
        }
        if (writes) end.ask_for(i, here, begin * kPanel, across * kPanel);
        alignas(64) float sums[kRows * kTogether * kPanel];
        for (std::size_t from = 0; from < depth; from += summed) {
          typename Product::Scales own{};
          if constexpr (kScaled) {
            own = {scales + i, w.scales() + begin * kPanel, kPanel, from > 0};
          }
          const std::size_t steps = std::min(summed, depth - from) / Product::kStep;
          multiplication<Product>(here, across)(
              in + i * stride + from, stride, weights(w) + begin * w.panel_size() + from * kPanel,
              w.panel_size(), steps, w.bias() + begin * kPanel, own, sums);
        }
        write(end, activation, sums, i, here, begin * kPanel, across * kPanel);
      }
    }
  }
};
