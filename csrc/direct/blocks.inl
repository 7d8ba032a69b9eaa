// Direct convolutions, for the instruction set of the file that includes this: it defines
// LIC_FAST_TARGET and the vectors of cpu/vectors_*.inl in its unnamed namespace.

#include "cpu/activations.inl"
#include "cpu/products.inl"

/// Numbers of a pixel whose products are summed before those of the next pixels: the weights of
/// panels that are computed together stay in the first cache.
inline constexpr std::size_t kDepth = kTogether > 1 ? 144 : 288;

/// Numbers side by side that a pixel is multiplied from: `at` is from the pixel's first tap.
struct Segment {
  std::size_t at, size;
};

/// Adds the products of kRows pixels, of which there are pointers, and kAcross vectors of outputs
/// to numbers that are `next` apart for two pixels, and puts them to `sums`, (kRows, kAcross,
/// kWidth). Panels are `panel` numbers apart. Where one vector would leave the processor waiting
/// for sums, there are kSplit of each.
template <std::size_t kAcross, std::size_t kSplit>
LIC_FAST_TARGET void multiply_segments(const float* const* pixels, const Segment* segments,
                                       std::size_t count, const float* weights, std::size_t panel,
                                       const float* start, std::size_t next, float* sums) {
  Vector sum[kSplit][kRows][kAcross];
  LIC_FAST_UNROLL(6)
  for (std::size_t t = 0; t < kRows; ++t) {
    LIC_FAST_UNROLL(8)
    for (std::size_t v = 0; v < kAcross; ++v) {
      sum[0][t][v] = Vector::load(start + t * next + v * kWidth);
      if constexpr (kSplit > 1) sum[1][t][v] = Vector::zero();
    }
  }
  for (std::size_t s = 0; s < count; ++s) {
    const std::size_t at = segments[s].at, size = segments[s].size;
    const float* x[kRows];
    LIC_FAST_UNROLL(6)
    for (std::size_t t = 0; t < kRows; ++t) x[t] = pixels[t] + at;
    std::size_t i = 0;
    if constexpr (kSplit > 1) {
      for (; i + kSplit <= size; i += kSplit, weights += kSplit * cpu::kPanel) {
        LIC_FAST_UNROLL(2)
        for (std::size_t k = 0; k < kSplit; ++k) {
          const Vector w = Vector::load(weights + k * cpu::kPanel);
          LIC_FAST_UNROLL(6)
          for (std::size_t t = 0; t < kRows; ++t) {
            sum[k][t][0] = fused(Vector::all(x[t][i + k]), w, sum[k][t][0]);
          }
        }
      }
    }
    for (; i < size; ++i, weights += cpu::kPanel) {
      Vector w[kAcross];
      LIC_FAST_UNROLL(8)
      for (std::size_t v = 0; v < kAcross; ++v) {
        w[v] = Vector::load(weights + v / kVectors * panel + v % kVectors * kWidth);
      }
      LIC_FAST_UNROLL(6)
      for (std::size_t t = 0; t < kRows; ++t) {
        const Vector all = Vector::all(x[t][i]);
        LIC_FAST_UNROLL(8)
        for (std::size_t v = 0; v < kAcross; ++v) sum[0][t][v] = fused(all, w[v], sum[0][t][v]);
      }
    }
  }
  LIC_FAST_UNROLL(6)
  for (std::size_t t = 0; t < kRows; ++t) {
    LIC_FAST_UNROLL(8)
    for (std::size_t v = 0; v < kAcross; ++v) {
      if constexpr (kSplit > 1) sum[0][t][v] = add(sum[0][t][v], sum[1][t][v]);
      sum[0][t][v].store(sums + (t * kAcross + v) * kWidth);
    }
  }
}

using MultiplySegments = void (*)(const float* const*, const Segment*, std::size_t, const float*,
                                  std::size_t, const float*, std::size_t, float*);

/// Panels that are computed together, by a function that depends on the weights alone and not on
/// which part of them a task has.
struct Group {
  std::size_t first, count;
  std::size_t vectors;  // of outputs
  MultiplySegments multiply;

  static Group of(const Weights& w, std::size_t first, std::size_t panels) {
    std::size_t count = 1;
    if constexpr (kTogether > 1) {
      // Groups of about one size: a single panel would leave most registers empty.
      const std::size_t groups = (panels + kTogether - 1) / kTogether;
      count = panels / groups;
      if (count == 4) return {first, 4, 4, &multiply_segments<4, 1>};
      if (count == 3) return {first, 3, 3, &multiply_segments<3, 1>};
      if (count == 2) return {first, 2, 2, &multiply_segments<2, 1>};
      if (w.panels() == 1) return {first, 1, 1, &multiply_segments<1, 2>};
      return {first, 1, 1, &multiply_segments<1, 1>};
    }
    if (w.outputs <= first * cpu::kPanel + kWidth) {
      return {first, count, 1, &multiply_segments<1, 2>};
    }
    return {first, count, kVectors, &multiply_segments<kVectors, 1>};
  }
};

/// The pixels of a part. T is the type of the maps' numbers.
template <class T>
struct Block {
  const Part& part;
  const Problem& p = part.problem;
  const Weights& w = p.weights;
  std::size_t count = part.rows * part.columns;
  std::size_t next_run = 0;
  // The last ones are the last pixel again, so that there are whole products.
  const float* pixels[kMostPixels + kRows];

  LIC_FAST_TARGET void run() {
    static thread_local cpu::Lines<float> memory;
    find_pixels();
    const std::size_t depth = w.depth(), chunks = (depth + kDepth - 1) / kDepth;
    float* const sums = cpu::scratch(memory, (kMostPixels + kRows) * kTogether * cpu::kPanel);
    for (std::size_t panel = 0; panel < part.panels;) {
      const Group group = Group::of(w, part.panel + panel, part.panels - panel);
      panel += group.count;
      const std::size_t size = group.vectors * kWidth;
      for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
        const std::size_t begin = depth * chunk / chunks, end = depth * (chunk + 1) / chunks;
        Segment segments[kMostTaps + 1];
        const std::size_t runs = segments_of(begin, end, segments);
        const float* const weights = w.panel(group.first) + begin * cpu::kPanel;
        const bool first = chunk == 0, last = chunk + 1 == chunks;
        for (std::size_t i = 0; i < count; i += kRows) {
          float* const own = sums + i * size;
          if (last) ask_for(group, i);
          group.multiply(pixels + i, segments, runs, weights, depth * cpu::kPanel,
                         first ? w.bias(group.first) : own, first ? 0 : size, own);
          if (last) finish(group, i, std::min(kRows, count - i), own);
        }
      }
    }
  }

 private:
  /// The numbers from begin to end - 1 of a pixel's, which are not more than a kernel has rows of
  /// taps apart.
  LIC_FAST_TARGET std::size_t segments_of(std::size_t begin, std::size_t end,
                                          Segment* segments) const {
    std::size_t runs = 0;
    const std::size_t size = w.run();
    while (begin < end) {
      const std::size_t run = begin / size, at = begin % size;
      const std::size_t here = std::min(end - begin, size - at);
      segments[runs++] = {run * next_run + at, here};
      begin += here;
    }
    return runs;
  }

  LIC_FAST_TARGET void find_pixels() {
    const std::size_t top = part.row * p.stride, left = part.column * p.stride;
    const std::size_t height = (part.rows - 1) * p.stride + w.kernel;
    const std::size_t width = (part.columns - 1) * p.stride + w.kernel;
    const bool inside = top >= p.padding && left >= p.padding &&
                        top + height <= p.height + p.padding && left + width <= p.width + p.padding;
    const float* first = nullptr;
    std::size_t next_row = 0, next_pixel = 0;
    if (std::is_same_v<T, float> && inside && (p.x.pixel == w.inputs || w.kernel == 1)) {
      first = static_cast<const float*>(p.x.data) + part.image * p.x.image +
              (top - p.padding) * p.x.row + (left - p.padding) * p.x.pixel;
      next_run = p.x.row;
      next_row = p.stride * p.x.row;
      next_pixel = p.stride * p.x.pixel;
    } else {
      // Of taps that do not overlap only those that are read.
      const std::size_t step = std::min(p.stride, w.kernel);
      next_run = ((part.columns - 1) * step + w.kernel) * w.inputs;
      next_row = step * next_run;
      next_pixel = step * w.inputs;
      first = copied(step);
    }
    std::size_t i = 0;
    for (std::size_t row = 0; row < part.rows; ++row) {
      for (std::size_t column = 0; column < part.columns; ++column) {
        pixels[i++] = first + row * next_row + column * next_pixel;
      }
    }
    for (std::size_t t = 0; t < kRows; ++t) pixels[i + t] = pixels[i - 1];
  }

  /// The numbers that the block reads.
  LIC_FAST_TARGET const float* copied(std::size_t step) const {
    static thread_local cpu::Lines<float> memory;
    const std::size_t rows = (part.rows - 1) * step + w.kernel;
    const std::size_t columns = (part.columns - 1) * step + w.kernel;
    float* const all = cpu::scratch(memory, rows * columns * w.inputs);
    const T* const image = static_cast<const T*>(p.x.data) + part.image * p.x.image;
    // Columns that lie side by side in the map too.
    const std::size_t together = step == p.stride ? columns : step;
    for (std::size_t r = 0; r < rows; ++r) {
      float* to = all + r * columns * w.inputs;
      const std::size_t row = (part.row + r / step) * p.stride + r % step;
      if (row < p.padding || row >= p.height + p.padding) {
        std::fill_n(to, columns * w.inputs, 0.0f);
        continue;
      }
      const T* const from = image + (row - p.padding) * p.x.row;
      for (std::size_t c = 0; c < columns; c += together) {
        copy_columns(from, (part.column + c / step) * p.stride, together, to + c * w.inputs);
      }
    }
    return all;
  }

  /// Columns of a row from `first` on, counted from where the padding begins.
  LIC_FAST_TARGET void copy_columns(const T* row, std::size_t first, std::size_t columns,
                                    float* to) const {
    const std::size_t end = first + columns;
    const std::size_t begin = std::clamp(p.padding, first, end);
    const std::size_t stop = std::clamp(p.width + p.padding, begin, end);
    std::fill_n(to, (begin - first) * w.inputs, 0.0f);
    float* const there = to + (begin - first) * w.inputs;
    if (begin < stop) {
      const T* const from = row + (begin - p.padding) * p.x.pixel;
      if (p.x.pixel == w.inputs) {
        copy(from, (stop - begin) * w.inputs, there);
      } else {
        for (std::size_t c = 0; c < stop - begin; ++c) {
          copy(from + c * p.x.pixel, w.inputs, there + c * w.inputs);
        }
      }
    }
    std::fill_n(to + (stop - first) * w.inputs, (end - stop) * w.inputs, 0.0f);
  }

  LIC_FAST_TARGET static void copy(const T* from, std::size_t size, float* to) {
    if constexpr (std::is_same_v<T, float>) {
      std::copy_n(from, size, to);
    } else {
      std::size_t i = 0;
      for (; i + kWidth <= size; i += kWidth) Vector::load(from + i).store(to + i);
      for (; i < size; ++i) to[i] = cpu::wide(from[i]);
    }
  }

  /// From the first number of a map's image to that of a pixel of the result, of the block.
  template <class Data>
  LIC_FAST_TARGET LIC_FAST_INLINE std::size_t place(const Map<Data>& map, std::size_t pixel) const {
    const std::size_t row = part.row + pixel / part.columns;
    const std::size_t column = part.column + pixel % part.columns;
    return part.image * map.image + p.shuffle * (row * map.row + column * map.pixel);
  }

  LIC_FAST_TARGET void ask_for(const Group& group, std::size_t pixel) const {
    if (p.shuffle > 1) return;
    const std::size_t first = group.first * cpu::kPanel;
    const std::size_t size = std::min(group.count * cpu::kPanel, w.outputs - first);
    for (std::size_t t = pixel; t < std::min(count, pixel + kRows); ++t) {
      const char* const to =
          reinterpret_cast<const char*>(static_cast<T*>(p.out.data) + place(p.out, t) + first);
      for (std::size_t at = 0; at < size * sizeof(T); at += 64) LIC_FAST_PREFETCH_WRITTEN(to + at);
    }
  }

  /// Writes the outputs of some pixels from their sums.
  LIC_FAST_TARGET void finish(const Group& group, std::size_t pixel, std::size_t pixels_,
                              const float* sums) const {
    const std::size_t each = w.outputs / (p.shuffle * p.shuffle);
    const std::size_t size = group.vectors * kWidth;
    for (std::size_t t = 0; t < pixels_; ++t, sums += size) {
      T* const out = static_cast<T*>(p.out.data) + place(p.out, pixel + t);
      const T* const residual =
          p.residual.data == nullptr
              ? nullptr
              : static_cast<const T*>(p.residual.data) + place(p.residual, pixel + t);
      const std::size_t begin = group.first * cpu::kPanel;
      const std::size_t end = std::min(w.outputs, begin + size);
      for (std::size_t output = begin; output < end;) {
        // Outputs of one pixel behind the shuffle.
        const std::size_t own = output / each, channel = output % each;
        const std::size_t here = std::min(each - channel, end - output);
        const std::size_t down = own / p.shuffle, across = own % p.shuffle;
        write(sums + output - begin, here, out + down * p.out.row + across * p.out.pixel + channel,
              residual == nullptr
                  ? nullptr
                  : residual + down * p.residual.row + across * p.residual.pixel + channel);
        output += here;
      }
    }
  }

  LIC_FAST_TARGET LIC_FAST_INLINE void write(const float* sums, std::size_t size, T* out,
                                             const T* residual) const {
    std::size_t i = 0;
    for (; i + kWidth <= size; i += kWidth) {
      Vector x = Vector::load(sums + i);
      if (residual != nullptr) x = add(x, Vector::load(residual + i));
      activate(x, p.activation).store(out + i);
    }
    if (i == size) return;
    Vector x = load_some(sums + i, size - i);
    if (residual != nullptr) x = add(x, load_some(residual + i, size - i));
    store_some(activate(x, p.activation), out + i, size - i);
  }
};

LIC_FAST_TARGET inline void compute_block(const Part& part) {
  if (part.problem.bfloat16) {
    Block<std::uint16_t>{part}.run();
  } else {
    Block<float>{part}.run();
  }
}
