// One row of windows, for the instruction set of the file that includes this.
//
// That file defines LIC_FAST_TARGET, the attribute of its functions, and a struct Vector of
// kWidth floats with the operations used below. Everything is in the including file's unnamed
// namespace: no two of them share a function.

struct Band {
  /// Memory of one thread, sized for a window.
  struct Scratch {
    explicit Scratch(const Shared& shared) {
      const std::size_t size = shared.problem.head_size;
      padded_size = (size + Vector::kWidth - 1) / Vector::kWidth * Vector::kWidth;
      keys.resize(size * shared.padded_tokens);
      values.resize(shared.tokens * padded_size);
      weights.resize(kQueries * shared.padded_tokens);
      result.resize(padded_size);
      rows.resize(shared.tokens);
      outs.resize(shared.tokens);
      regions.resize(shared.padded_tokens);
      if (shared.problem.bfloat16) {
        const std::size_t channels = shared.problem.heads * size;
        wide_rows.resize(shared.tokens * 3 * channels);
        wide_outs.resize(shared.tokens * channels);
        narrow_outs.resize(shared.tokens);
      }
    }
    std::size_t padded_size;            // head_size, to a multiple of the vector's width
    std::vector<float> keys;            // (head_size, padded_tokens): transposed
    std::vector<float> values;          // (tokens, padded_size), zero in the padding
    std::vector<float> weights;         // (kQueries, padded_tokens)
    std::vector<float> result;          // (padded_size)
    std::vector<const float*> rows;     // of each token: its query, key and value
    std::vector<float*> outs;           // of each token: its result; null in the padding
    std::vector<std::int32_t> regions;  // tokens of unequal regions met only through the shift
    // Of bfloat16 maps: the tokens and their results as float, and where the results belong.
    std::vector<float> wide_rows, wide_outs;
    std::vector<std::uint16_t*> narrow_outs;
  };

  // Queries that are computed together, so that a key or value is loaded once for all of them.
  static constexpr std::size_t kQueries = 4;

  LIC_FAST_TARGET static void run(const Shared& shared, std::size_t image, std::size_t band) {
    const Problem& p = shared.problem;
    Scratch scratch(shared);
    const std::size_t columns = (p.width + p.window - 1) / p.window;
    for (std::size_t column = 0; column < columns; ++column) {
      const bool masked = locate(shared, scratch, image, band, column);
      for (std::size_t head = 0; head < p.heads; ++head) {
        gather(shared, scratch, head);
        for (std::size_t i = 0; i < shared.tokens; i += kQueries) {
          attend(shared, scratch, head, i, std::min(kQueries, shared.tokens - i), masked);
        }
      }
      if (p.bfloat16) narrow(scratch, p.heads * p.head_size);
    }
  }

  /// Finds a window's tokens; whether the shift brought strangers together in it.
  LIC_FAST_TARGET static bool locate(const Shared& shared, Scratch& scratch, std::size_t image, std::size_t band,
                     std::size_t column) {
    const Problem& p = shared.problem;
    const std::size_t w = p.window, channels = p.heads * p.head_size;
    const std::size_t rows = (p.height + w - 1) / w, columns = (p.width + w - 1) / w;
    const float* padding = p.pad_value != nullptr ? p.pad_value : shared.no_pad.data();
    const bool last_row = p.shift != 0 && band + 1 == rows;
    const bool last_column = p.shift != 0 && column + 1 == columns;
    for (std::size_t i = 0; i < shared.tokens; ++i) {
      const std::size_t inner_row = i / w, inner_column = i % w;
      const std::size_t y = (band * w + inner_row + p.shift) % (rows * w);
      const std::size_t x = (column * w + inner_column + p.shift) % (columns * w);
      const std::size_t token = (image * p.height + y) * p.width + x;
      const bool inside = y < p.height && x < p.width;
      scratch.rows[i] = padding;
      scratch.outs[i] = nullptr;
      if (inside && p.bfloat16) {
        float* const wide = scratch.wide_rows.data() + i * 3 * channels;
        widen(static_cast<const std::uint16_t*>(p.qkv) + token * 3 * channels, 3 * channels, wide);
        scratch.rows[i] = wide;
        scratch.outs[i] = scratch.wide_outs.data() + i * channels;
        scratch.narrow_outs[i] = static_cast<std::uint16_t*>(p.out) + token * channels;
      } else if (inside) {
        scratch.rows[i] = static_cast<const float*>(p.qkv) + token * 3 * channels;
        scratch.outs[i] = static_cast<float*>(p.out) + token * channels;
      }
      scratch.regions[i] = 2 * (last_row && inner_row >= w - p.shift) +
                           1 * (last_column && inner_column >= w - p.shift);
    }
    return last_row || last_column;
  }

  LIC_FAST_TARGET LIC_FAST_INLINE static void widen(const std::uint16_t* from, std::size_t count,
                                                    float* to) {
    for (std::size_t e = 0; e < count; ++e) {
      const std::uint32_t bits = static_cast<std::uint32_t>(from[e]) << 16;
      std::memcpy(to + e, &bits, sizeof(bits));
    }
  }

  /// Writes a window's results as bfloat16, rounded to the nearest, ties to even.
  LIC_FAST_TARGET static void narrow(const Scratch& scratch, std::size_t channels) {
    for (std::size_t i = 0; i < scratch.outs.size(); ++i) {
      const float* const from = scratch.outs[i];
      if (from == nullptr) continue;
      std::uint16_t* const to = scratch.narrow_outs[i];
      for (std::size_t e = 0; e < channels; ++e) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, from + e, sizeof(bits));
        const std::uint32_t rounded = bits + 0x7FFF + ((bits >> 16) & 1);
        const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
        to[e] = static_cast<std::uint16_t>((nan ? bits | 0x400000 : rounded) >> 16);
      }
    }
  }

  /// Copies a head's keys, transposed, and values to where vectors can take them.
  LIC_FAST_TARGET static void gather(const Shared& shared, Scratch& scratch, std::size_t head) {
    const Problem& p = shared.problem;
    const std::size_t size = p.head_size, channels = p.heads * size;
    float* keys = scratch.keys.data();
    float* values = scratch.values.data();
    for (std::size_t j = 0; j < shared.tokens; ++j) {
      const float* key = scratch.rows[j] + channels + head * size;
      const float* value = key + channels;
      for (std::size_t e = 0; e < size; ++e) keys[e * shared.padded_tokens + j] = key[e];
      for (std::size_t e = 0; e < size; ++e) values[j * scratch.padded_size + e] = value[e];
    }
  }

  LIC_FAST_TARGET static void attend(const Shared& shared, Scratch& scratch, std::size_t head,
                                     std::size_t first, std::size_t count, bool masked) {
    float sums[kQueries];
    // The last queries again where fewer than kQueries are left: their results are not stored.
    std::size_t query[kQueries];
    for (std::size_t i = 0; i < kQueries; ++i) query[i] = first + std::min(i, count - 1);
    logits(shared, scratch, head, query);
    for (std::size_t i = 0; i < kQueries; ++i) {
      sums[i] = exponentials(shared, scratch, i, query[i], masked);
    }
    for (std::size_t e = 0; e < shared.problem.head_size; e += Vector::kWidth) {
      average(shared, scratch, head, query, count, sums, e);
    }
  }

  /// Products of queries and keys, scaled, with the bias.
  LIC_FAST_TARGET static void logits(const Shared& shared, Scratch& scratch, std::size_t head,
                                     const std::size_t* query) {
    const Problem& p = shared.problem;
    const std::size_t padded = shared.padded_tokens;
    const float* q[kQueries];
    for (std::size_t i = 0; i < kQueries; ++i) q[i] = scratch.rows[query[i]] + head * p.head_size;
    for (std::size_t j = 0; j < padded; j += Vector::kWidth) {
      Vector sum[kQueries];
      for (std::size_t i = 0; i < kQueries; ++i) sum[i] = Vector::zero();
      for (std::size_t e = 0; e < p.head_size; ++e) {
        const Vector key = Vector::load(scratch.keys.data() + e * padded + j);
        for (std::size_t i = 0; i < kQueries; ++i) {
          sum[i] = fused(Vector::all(q[i][e]), key, sum[i]);
        }
      }
      for (std::size_t i = 0; i < kQueries; ++i) {
        const float* bias = shared.bias.data() + (head * shared.tokens + query[i]) * padded + j;
        fused(sum[i], Vector::all(p.scale), Vector::load(bias))
            .store(scratch.weights.data() + i * padded + j);
      }
    }
  }

  /// Turns row i of the weights from logits to exponentials; returns their sum.
  LIC_FAST_TARGET static float exponentials(const Shared& shared, Scratch& scratch, std::size_t i,
                                            std::size_t query, bool masked) {
    const std::size_t padded = shared.padded_tokens;
    float* row = scratch.weights.data() + i * padded;
    if (masked) {
      const std::int32_t own = scratch.regions[query];
      for (std::size_t j = 0; j < shared.tokens; ++j) {
        if (scratch.regions[j] != own) row[j] += shared.problem.mask_value;
      }
    }
    Vector largest = Vector::load(row);
    for (std::size_t j = Vector::kWidth; j < padded; j += Vector::kWidth) {
      largest = maximum(largest, Vector::load(row + j));
    }
    const Vector top = Vector::all(highest(largest));
    Vector sum = Vector::zero();
    for (std::size_t j = 0; j < padded; j += Vector::kWidth) {
      const Vector weight = exponential(subtract(Vector::load(row + j), top));
      sum = add(sum, weight);
      weight.store(row + j);
    }
    return total(sum);
  }

  /// The values' average under the weights: elements e and on of a head.
  LIC_FAST_TARGET static void average(const Shared& shared, Scratch& scratch, std::size_t head,
                                      const std::size_t* query, std::size_t count,
                                      const float* sums, std::size_t e) {
    const Problem& p = shared.problem;
    const std::size_t padded = shared.padded_tokens;
    const float* weights = scratch.weights.data();
    Vector sum[kQueries];
    for (std::size_t i = 0; i < kQueries; ++i) sum[i] = Vector::zero();
    for (std::size_t j = 0; j < shared.tokens; ++j) {
      const Vector value = Vector::load(scratch.values.data() + j * scratch.padded_size + e);
      for (std::size_t i = 0; i < kQueries; ++i) {
        sum[i] = fused(Vector::all(weights[i * padded + j]), value, sum[i]);
      }
    }
    const std::size_t size = std::min(Vector::kWidth, p.head_size - e);
    for (std::size_t i = 0; i < count; ++i) {
      float* out = scratch.outs[query[i]];
      if (out == nullptr) continue;
      multiply(sum[i], Vector::all(1 / sums[i])).store(scratch.result.data());
      std::memcpy(out + head * p.head_size + e, scratch.result.data(), size * sizeof(float));
    }
  }

  /// exp(x) for x <= 0, and 0 below -87, where float32 has no normal numbers left: 2^n exp(r) with
  /// n the nearest integer of x / ln 2, and r in [-ln 2 / 2, ln 2 / 2] by its Taylor polynomial of
  /// degree 6, which is off by 1.2e-7 at most.
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector exponential(Vector x) {
    const Vector kept = x;
    x = maximum(Vector::all(-87.0f), x);  // in this order a NaN stays one
    const Vector n = nearest(multiply(x, Vector::all(1.44269504f)));
    // ln 2 in two parts, the first with few bits, so that n times it is exact.
    Vector r = fused(n, Vector::all(-0.693359375f), x);
    r = fused(n, Vector::all(2.12194440e-4f), r);
    Vector sum = Vector::all(1.0f / 720);
    sum = fused(sum, r, Vector::all(1.0f / 120));
    sum = fused(sum, r, Vector::all(1.0f / 24));
    sum = fused(sum, r, Vector::all(1.0f / 6));
    sum = fused(sum, r, Vector::all(0.5f));
    sum = fused(sum, r, Vector::all(1.0f));
    sum = fused(sum, r, Vector::all(1.0f));
    return zero_below(scaled(sum, n), kept, Vector::all(-87.0f));
  }
};
