// Direct convolutions, for the instruction set of the file that includes this: it defines
// LIC_FAST_TARGET and the vectors of cpu/vectors_*.inl in its unnamed namespace.

#include "cpu/activations.inl"
#include "cpu/products.inl"

/// Numbers of a pixel whose products are summed before those of the next pixels: the weights of
/// panels that are computed together stay in the first cache.
inline constexpr std::size_t kDepth = kTogether > 1 ? 144 : 288;

/// Pixels all of whose outputs are computed before those of others, where there are few products:
/// then they are written to memory in the order in which they lie there.
inline constexpr std::size_t kStrip = 48;

/// Pixels ahead of those that are written whose lines are asked for.
inline constexpr std::size_t kAhead = 24;

/// Numbers side by side that a pixel is multiplied from: `at` is from the pixel's first tap.
struct Segment {
  std::size_t at, size;
};

/// Adds the products of kRows pixels, of which there are pointers, and kAcross vectors of outputs
/// to numbers that are `next` apart for two pixels. Panels are `panel` numbers apart. Where one
/// vector would leave the processor waiting for sums, there are kSplit of each.
template <std::size_t kAcross, std::size_t kSplit>
LIC_FAST_TARGET LIC_FAST_INLINE void sum_segments(const float* const* pixels,
                                                  const Segment* segments, std::size_t count,
                                                  const float* weights, std::size_t panel,
                                                  const float* start, std::size_t next,
                                                  Vector (&sums)[kRows][kAcross]) {
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
      sums[t][v] = sum[0][t][v];
    }
  }
}

/// The same to `sums`, (kRows, kAcross, kWidth).
template <std::size_t kAcross, std::size_t kSplit>
LIC_FAST_TARGET void multiply_segments(const float* const* pixels, const Segment* segments,
                                       std::size_t count, const float* weights, std::size_t panel,
                                       const float* start, std::size_t next, float* sums) {
  Vector sum[kRows][kAcross];
  sum_segments<kAcross, kSplit>(pixels, segments, count, weights, panel, start, next, sum);
  LIC_FAST_UNROLL(6)
  for (std::size_t t = 0; t < kRows; ++t) {
    LIC_FAST_UNROLL(8)
    for (std::size_t v = 0; v < kAcross; ++v) sum[t][v].store(sums + (t * kAcross + v) * kWidth);
  }
}

using MultiplySegments = void (*)(const float* const*, const Segment*, std::size_t, const float*,
                                  std::size_t, const float*, std::size_t, float*);

/// The same of `blocks` times kRows pixels, from the registers to where the results go, `out` and
/// `residual` from each pixel's place on. All begin with the same numbers if `next` is 0.
template <class T, Activation kActivation, bool kSum, std::size_t kAcross, std::size_t kSplit>
LIC_FAST_TARGET void multiply_to(std::size_t blocks, const float* const* pixels,
                                 const Segment* segments, std::size_t count, const float* weights,
                                 std::size_t panel, const float* start, std::size_t next, T* out,
                                 const std::size_t* places, const T* residual,
                                 const std::size_t* residual_places) {
  for (std::size_t block = 0; block < blocks; ++block) {
    LIC_FAST_UNROLL(6)
    for (std::size_t t = 0; t < kRows; ++t) {
      const char* const to = reinterpret_cast<const char*>(out + places[t + kAhead]);
      for (std::size_t at = 0; at < kAcross * kWidth * sizeof(T); at += 64)
        LIC_FAST_PREFETCH_WRITTEN(to + at);
    }
    Vector sum[kRows][kAcross];
    sum_segments<kAcross, kSplit>(pixels, segments, count, weights, panel, start, next, sum);
    LIC_FAST_UNROLL(6)
    for (std::size_t t = 0; t < kRows; ++t) {
      LIC_FAST_UNROLL(8)
      for (std::size_t v = 0; v < kAcross; ++v) {
        Vector x = sum[t][v];
        if constexpr (kSum) x = add(x, Vector::load(residual + residual_places[t] + v * kWidth));
        activate(x, kActivation).store(out + places[t] + v * kWidth);
      }
    }
    pixels += kRows;
    places += kRows;
    residual_places += kRows;
    start += kRows * next;
  }
}

template <class T>
using MultiplyTo = void (*)(std::size_t, const float* const*, const Segment*, std::size_t,
                            const float*, std::size_t, const float*, std::size_t, T*,
                            const std::size_t*, const T*, const std::size_t*);

/// Null for activations that take so long that sums may as well go through memory.
template <class T, std::size_t kAcross, std::size_t kSplit>
MultiplyTo<T> chosen(Activation activation, bool sum) {
  constexpr auto kNone = Activation::kNone, kRelu = Activation::kRelu;
  constexpr auto kLeaky = Activation::kLeakyRelu;
  switch (activation) {
    case Activation::kNone:
      return sum ? &multiply_to<T, kNone, true, kAcross, kSplit>
                 : &multiply_to<T, kNone, false, kAcross, kSplit>;
    case Activation::kRelu:
      return sum ? &multiply_to<T, kRelu, true, kAcross, kSplit>
                 : &multiply_to<T, kRelu, false, kAcross, kSplit>;
    case Activation::kLeakyRelu:
      return sum ? &multiply_to<T, kLeaky, true, kAcross, kSplit>
                 : &multiply_to<T, kLeaky, false, kAcross, kSplit>;
    default:
      return nullptr;
  }
}

/// Panels that are computed together, by functions that depend on the weights alone and not on
/// which part of them a task has.
template <class T>
struct Group {
  std::size_t first, count;
  std::size_t vectors;  // of outputs
  MultiplySegments multiply;
  MultiplyTo<T> straight;

  static Group of(const Problem& p, std::size_t first, std::size_t panels) {
    const Weights& w = p.weights;
    if constexpr (kTogether > 1) {
      // Groups of about one size: a single panel would leave most registers empty.
      const std::size_t groups = (panels + kTogether - 1) / kTogether, count = panels / groups;
      if (count == 4) return of<4, 1>(p, first, 4);
      if (count == 3) return of<3, 1>(p, first, 3);
      if (count == 2) return of<2, 1>(p, first, 2);
      return w.panels() == 1 ? of<1, 2>(p, first, 1) : of<1, 1>(p, first, 1);
    }
    if (w.outputs <= first * cpu::kPanel + kWidth) return of<1, 2>(p, first, 1);
    return of<kVectors, 1>(p, first, 1);
  }

 private:
  template <std::size_t kAcross, std::size_t kSplit>
  static Group of(const Problem& p, std::size_t first, std::size_t count) {
    return {first, count, kAcross, &multiply_segments<kAcross, kSplit>,
            chosen<T, kAcross, kSplit>(p.activation, p.residual.data != nullptr)};
  }
};

/// Outputs that lie side by side behind the shuffle.
struct Piece {
  std::size_t first, size;    // lanes of a group's
  std::size_t out, residual;  // from a pixel's place on
};

/// The pixels of a part. T is the type of the maps' numbers.
template <class T>
struct Block {
  explicit Block(const Part& own) : part(own) {}

  const Part& part;
  const Problem& p = part.problem;
  const Weights& w = p.weights;
  const std::size_t count = part.rows * part.columns;
  std::size_t next_run = 0;  // numbers from a row of taps to the next
  // The last ones are the last pixel again, so that there are whole products.
  const float* pixels[kMostPixels + kRows];
  // From the first number of a map to the pixels'.
  std::size_t places[kMostPixels + kAhead], residual_places[kMostPixels];

  LIC_FAST_TARGET void run() {
    static thread_local cpu::Lines<float> memory;
    float* const sums = cpu::scratch(memory, (kMostPixels + kRows) * kTogether * cpu::kPanel);
    find_pixels();
    find_places();
    const std::size_t depth = w.depth(), chunks = (depth + kDepth - 1) / kDepth;
    const std::size_t together = chunks == 1 ? kStrip : count;
    for (std::size_t first = 0; first < count; first += together) {
      const std::size_t last = std::min(count, first + together);
      for (std::size_t panel = 0; panel < part.panels;) {
        const Group<T> group = Group<T>::of(p, part.panel + panel, part.panels - panel);
        panel += group.count;
        Piece pieces[kTogether * cpu::kPanel];
        const std::size_t size = group.vectors * kWidth;
        const std::size_t runs = pieces_of(group.first * cpu::kPanel, size, pieces);
        for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
          const std::size_t begin = depth * chunk / chunks, end = depth * (chunk + 1) / chunks;
          multiply_pixels(group, {pieces, runs}, begin, end, first, last, sums);
        }
      }
    }
  }

 private:
  struct Pieces {
    const Piece* all;
    std::size_t count;
  };

  /// Adds the products of numbers begin to end - 1 of pixels first to last - 1 to their sums, and
  /// writes the results when these are the last ones.
  LIC_FAST_TARGET void multiply_pixels(const Group<T>& group, const Pieces& pieces,
                                       std::size_t begin, std::size_t end, std::size_t first,
                                       std::size_t last, float* sums) const {
    const std::size_t depth = w.depth(), panel = depth * cpu::kPanel;
    const std::size_t size = group.vectors * kWidth;
    Segment segments[kMostTaps + 1];
    const std::size_t runs = segments_of(begin, end, segments);
    const float* const weights = w.panel(group.first) + begin * cpu::kPanel;
    const bool starts = begin == 0, ends = end == depth;
    const bool straight =
        ends && group.straight != nullptr && pieces.count == 1 && pieces.all->size == size;
    T* const out = static_cast<T*>(p.out.data);
    const T* const residual = static_cast<const T*>(p.residual.data);
    std::size_t i = first;
    if (straight) {
      const std::size_t blocks = (last - first) / kRows;
      group.straight(blocks, pixels + i, segments, runs, weights, panel,
                     starts ? w.bias(group.first) : sums + i * size, starts ? 0 : size,
                     out + pieces.all->out, places + i,
                     residual == nullptr ? nullptr : residual + pieces.all->residual,
                     residual_places + i);
      i += blocks * kRows;
    }
    for (; i < last; i += kRows) {
      float* const own = sums + i * size;
      const float* const start = starts ? w.bias(group.first) : own;
      const std::size_t next = starts ? 0 : size;
      group.multiply(pixels + i, segments, runs, weights, panel, start, next, own);
      if (!ends) continue;
      for (std::size_t t = i; t < std::min(last, i + kRows); ++t) {
        for (std::size_t k = 0; k < pieces.count; ++k) {
          const Piece& piece = pieces.all[k];
          write(sums + t * size + piece.first, piece.size, out + places[t] + piece.out,
                residual == nullptr ? nullptr : residual + residual_places[t] + piece.residual);
        }
      }
    }
  }

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

  LIC_FAST_TARGET void find_places() {
    std::size_t i = 0;
    for (std::size_t row = part.row; row < part.row + part.rows; ++row) {
      for (std::size_t column = part.column; column < part.column + part.columns; ++column) {
        places[i] = part.image * p.out.image + p.shuffle * (row * p.out.row + column * p.out.pixel);
        residual_places[i] = part.image * p.residual.image +
                             p.shuffle * (row * p.residual.row + column * p.residual.pixel);
        ++i;
      }
    }
    std::fill_n(places + i, kAhead, places[i - 1]);
  }

  /// Outputs from `begin` on, of which there are `size` sums.
  LIC_FAST_TARGET std::size_t pieces_of(std::size_t begin, std::size_t size, Piece* pieces) const {
    const std::size_t each = w.outputs / (p.shuffle * p.shuffle);
    const std::size_t end = std::min(w.outputs, begin + size);
    std::size_t count_of_pieces = 0;
    for (std::size_t output = begin; output < end;) {
      const std::size_t pixel = output / each, channel = output % each;
      const std::size_t down = pixel / p.shuffle, across = pixel % p.shuffle;
      const std::size_t here = std::min(each - channel, end - output);
      pieces[count_of_pieces++] = {output - begin, here,
                                   down * p.out.row + across * p.out.pixel + channel,
                                   down * p.residual.row + across * p.residual.pixel + channel};
      output += here;
    }
    return count_of_pieces;
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
    Block<std::uint16_t>(part).run();
  } else {
    Block<float>(part).run();
  }
}
