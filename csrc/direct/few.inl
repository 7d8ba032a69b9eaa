// Convolutions of stride 1 to a few outputs, for the instruction set of the file that includes this
// behind blocks.inl: vectors are of pixels, as one of outputs would be almost empty.

/// The rows and columns of a part. T is the type of the maps' numbers.
template <class T, std::size_t kOut>
struct FewOutputs {
  /// Vectors of pixels that are summed together, and pixels of them: beside the sums there are
  /// registers for the weights.
  static constexpr std::size_t kVec = 10 / kOut, kTile = kVec * kWidth;

  const Part& part;
  const Problem& p = part.problem;
  const Weights& w = p.weights;
  const std::size_t rows = part.rows + w.kernel - 1;
  const std::size_t columns = part.columns + w.kernel - 1;
  // Numbers of a row of a channel: whole tiles, the first taps of which are `kernel - 1` more.
  const std::size_t pitch = (part.columns + kTile - 1) / kTile * kTile + (w.kernel + 7) / 8 * 8;

  explicit FewOutputs(const Part& own) : part(own) {}

  LIC_FAST_TARGET void run() const {
    static thread_local cpu::Lines<float> memory;
    float* const lines = cpu::scratch(memory, rows * w.inputs * pitch);
    for (std::size_t r = 0; r < rows; ++r) {
      read_row(part.row + r, lines + r * w.inputs * pitch);
    }
    for (std::size_t r = 0; r < part.rows; ++r) {
      const float* const from = lines + r * w.inputs * pitch;
      for (std::size_t column = 0; column < part.columns; column += kTile) {
        multiply_tile(from + column, r, column, std::min(kTile, part.columns - column));
      }
    }
  }

 private:
  /// A row of the input, counted from where the padding begins, as (inputs, pitch).
  LIC_FAST_TARGET void read_row(std::size_t row, float* to) const {
    const std::size_t size = w.inputs;
    if (row < p.padding || row >= p.height + p.padding) {
      std::fill_n(to, size * pitch, 0.0f);
      return;
    }
    const std::size_t left = part.column, end = left + columns;
    const std::size_t begin = std::clamp(p.padding, left, end) - left;
    const std::size_t stop = std::clamp(p.width + p.padding, left + begin, end) - left;
    for (std::size_t c = 0; c < size; ++c) {
      std::fill_n(to + c * pitch, begin, 0.0f);
      std::fill_n(to + c * pitch + stop, pitch - stop, 0.0f);
    }
    if (begin == stop) return;
    const T* const from = static_cast<const T*>(p.x.data) + part.image * p.x.image +
                          (row - p.padding) * p.x.row + (left + begin - p.padding) * p.x.pixel;
    const std::size_t whole = size / 8 * 8, count = stop - begin;
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
      for (std::size_t c = 0; c < whole; c += 8) {
        Eight numbers[8];
        LIC_FAST_UNROLL(8)
        for (std::size_t k = 0; k < 8; ++k) {
          numbers[k] = Eight::load(from + (i + k) * p.x.pixel + c);
        }
        transpose(numbers);
        LIC_FAST_UNROLL(8)
        for (std::size_t k = 0; k < 8; ++k) numbers[k].store(to + (c + k) * pitch + begin + i);
      }
      for (std::size_t c = whole; c < size; ++c) {
        for (std::size_t k = i; k < i + 8; ++k) {
          to[c * pitch + begin + k] = cpu::wide(from[k * p.x.pixel + c]);
        }
      }
    }
    for (; i < count; ++i) {
      for (std::size_t c = 0; c < size; ++c) {
        to[c * pitch + begin + i] = cpu::wide(from[i * p.x.pixel + c]);
      }
    }
  }

  /// Of `count` pixels from a column of the part's on, whose first tap of the first input is at
  /// `lines`.
  LIC_FAST_TARGET void multiply_tile(const float* lines, std::size_t row, std::size_t column,
                                     std::size_t count) const {
    Vector sum[kOut][kVec];
    LIC_FAST_UNROLL(4)
    for (std::size_t o = 0; o < kOut; ++o) {
      LIC_FAST_UNROLL(12)
      for (std::size_t v = 0; v < kVec; ++v) sum[o][v] = Vector::all(w.bias(0)[o]);
    }
    const float* taps = w.few();
    // The rows of all taps' inputs follow one another.
    for (std::size_t line = 0; line < w.kernel * w.inputs; ++line, lines += pitch) {
      for (std::size_t tap = 0; tap < w.kernel; ++tap, taps += kOut) {
        Vector all[kOut];
        LIC_FAST_UNROLL(4)
        for (std::size_t o = 0; o < kOut; ++o) all[o] = Vector::all(taps[o]);
        LIC_FAST_UNROLL(12)
        for (std::size_t v = 0; v < kVec; ++v) {
          const Vector x = Vector::load(lines + tap + v * kWidth);
          LIC_FAST_UNROLL(4)
          for (std::size_t o = 0; o < kOut; ++o) sum[o][v] = fused(x, all[o], sum[o][v]);
        }
      }
    }
    const std::size_t each = kOut / (p.shuffle * p.shuffle);
    for (std::size_t o = 0; o < kOut; ++o) {
      const std::size_t down = o / each / p.shuffle, across = o / each % p.shuffle;
      const auto place = [&](const auto& map) {
        return part.image * map.image + ((part.row + row) * p.shuffle + down) * map.row +
               ((part.column + column) * p.shuffle + across) * map.pixel + o % each;
      };
      float numbers[kTile] = {};
      if (p.residual.data != nullptr) {
        const T* const from = static_cast<const T*>(p.residual.data) + place(p.residual);
        for (std::size_t i = 0; i < count; ++i) {
          numbers[i] = cpu::wide(from[i * p.shuffle * p.residual.pixel]);
        }
      }
      LIC_FAST_UNROLL(12)
      for (std::size_t v = 0; v < kVec; ++v) {
        const Vector x = add(sum[o][v], Vector::load(numbers + v * kWidth));
        activate(x, p.activation).store(numbers + v * kWidth);
      }
      T* const to = static_cast<T*>(p.out.data) + place(p.out);
      for (std::size_t i = 0; i < count; ++i) {
        to[i * p.shuffle * p.out.pixel] = cpu::narrow<T>(numbers[i]);
      }
    }
  }
};

template <class T>
LIC_FAST_TARGET void compute_few_of(const Part& part) {
  switch (part.problem.weights.outputs) {
    case 1:
      return FewOutputs<T, 1>(part).run();
    case 2:
      return FewOutputs<T, 2>(part).run();
    case 3:
      return FewOutputs<T, 3>(part).run();
    default:
      return FewOutputs<T, kMostFew>(part).run();
  }
}

LIC_FAST_TARGET inline void compute_few(const Part& part) {
  if (part.problem.bfloat16) {
    compute_few_of<std::uint16_t>(part);
  } else {
    compute_few_of<float>(part);
  }
}
