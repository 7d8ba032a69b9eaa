// One row of windows, for the instruction set of the file that includes this.
//
// That file defines LIC_FAST_TARGET, the attribute of its functions, a struct Vector of kWidth
// floats and a struct Eight of eight, with the operations used below. Everything is in the
// including file's unnamed namespace: no two of them share a function.
//
// Queries lie in the lanes of vectors, and a key or value is one number for all of them: maximum,
// sum and average of the softmax then need no sums across lanes.

struct Band {
  static constexpr std::size_t kEight = 8;

  /// Where a window's tokens lie, and which of them are neighbours.
  struct Places {
    explicit Places(const Shared& shared)
        : rows(shared.tokens),
          outs(shared.tokens),
          regions(shared.tokens),
          masks(4 * shared.padded_tokens) {}
    std::vector<const void*> rows;     // of each token: query, key and value; null in the padding
    std::vector<void*> outs;           // of each token: its result; null in the padding
    std::vector<std::size_t> regions;  // tokens of unequal regions met only through the shift
    cpu::Lines<float> masks;           // (region, padded_tokens): what keys of it add to queries
  };

  /// Memory of one thread, sized for a window.
  struct Scratch : Places {
    explicit Scratch(const Shared& shared) : Places(shared) {
      const std::size_t size = shared.problem.head_size;
      queries.assign(size * shared.padded_tokens, 0.0f);
      keys.resize(shared.tokens * size);
      values.resize(shared.tokens * size);
      weights.resize(shared.tokens * Vector::kWidth);
    }
    cpu::Lines<float> queries;       // (head_size, padded_tokens): transposed, zero behind
    cpu::Lines<float> keys, values;  // (tokens, head_size)
    cpu::Lines<float> weights;       // (tokens, kWidth): of keys, for a vector of queries
  };

  LIC_FAST_TARGET static void run(const Shared& shared, std::size_t image, std::size_t band) {
    if (shared.problem.bfloat16) {
      of_type<std::uint16_t>(shared, image, band);
    } else {
      of_type<float>(shared, image, band);
    }
  }

  template <class T>
  LIC_FAST_TARGET static void of_type(const Shared& shared, std::size_t image, std::size_t band) {
    const Problem& p = shared.problem;
    Scratch scratch(shared);
    const std::size_t columns = (p.width + p.window - 1) / p.window;
    for (std::size_t column = 0; column < columns; ++column) {
      const bool masked = locate<T>(shared, scratch, image, band, column);
      for (std::size_t head = 0; head < p.heads; ++head) {
        gather<T>(shared, scratch, head);
        for (std::size_t first = 0; first < shared.tokens; first += Vector::kWidth) {
          const Vector largest = weigh(shared, scratch, head, first, masked);
          average<T>(shared, scratch, head, first, largest);
        }
      }
    }
  }

  /// Finds a window's tokens; whether the shift brought strangers together in it.
  template <class T>
  LIC_FAST_TARGET static bool locate(const Shared& shared, Places& places, std::size_t image,
                                     std::size_t band, std::size_t column) {
    const Problem& p = shared.problem;
    const std::size_t w = p.window, channels = p.heads * p.head_size;
    const std::size_t rows = (p.height + w - 1) / w, columns = (p.width + w - 1) / w;
    const bool last_row = p.shift != 0 && band + 1 == rows;
    const bool last_column = p.shift != 0 && column + 1 == columns;
    const T* const qkv = static_cast<const T*>(p.qkv);
    T* const out = static_cast<T*>(p.out);
    std::size_t i = 0;
    for (std::size_t inner_row = 0; inner_row < w; ++inner_row) {
      std::size_t y = band * w + inner_row + p.shift;
      if (y >= rows * w) y -= rows * w;
      for (std::size_t inner_column = 0; inner_column < w; ++inner_column, ++i) {
        std::size_t x = column * w + inner_column + p.shift;
        if (x >= columns * w) x -= columns * w;
        const std::size_t token = (image * p.height + y) * p.width + x;
        const bool inside = y < p.height && x < p.width;
        places.rows[i] = inside ? qkv + token * 3 * channels : nullptr;
        places.outs[i] = inside ? out + token * channels : nullptr;
        places.regions[i] = 2u * (last_row && inner_row >= w - p.shift) +
                            1u * (last_column && inner_column >= w - p.shift);
      }
    }
    if (!last_row && !last_column) return false;
    for (std::size_t region = 0; region < 4; ++region) {
      for (i = 0; i < shared.tokens; ++i) {
        places.masks[region * shared.padded_tokens + i] =
            places.regions[i] == region ? 0.0f : shared.mask;
      }
    }
    return true;
  }

  /// Eight of a token's numbers, and one.
  template <class T>
  LIC_FAST_TARGET LIC_FAST_INLINE static Eight eight_of(const Shared& shared, const void* row,
                                                        std::size_t e) {
    return row == nullptr ? Eight::load(shared.padding + e)
                          : Eight::load(static_cast<const T*>(row) + e);
  }
  template <class T>
  LIC_FAST_TARGET LIC_FAST_INLINE static float one_of(const Shared& shared, const void* row,
                                                      std::size_t e) {
    return row == nullptr ? shared.padding[e] : cpu::wide(static_cast<const T*>(row)[e]);
  }

  /// A head's queries, transposed, keys and values as floats side by side.
  template <class T>
  LIC_FAST_TARGET static void gather(const Shared& shared, Scratch& scratch, std::size_t head) {
    const Problem& p = shared.problem;
    const std::size_t size = p.head_size, channels = p.heads * size, padded = shared.padded_tokens;
    const std::size_t whole = size / kEight * kEight, begin = head * size;
    for (std::size_t j = 0; j < shared.tokens; ++j) {
      const void* const row = scratch.rows[j];
      float* const key = scratch.keys.data() + j * size;
      float* const value = scratch.values.data() + j * size;
      for (std::size_t e = 0; e < whole; e += kEight) {
        eight_of<T>(shared, row, channels + begin + e).store(key + e);
        eight_of<T>(shared, row, 2 * channels + begin + e).store(value + e);
      }
      for (std::size_t e = whole; e < size; ++e) {
        key[e] = one_of<T>(shared, row, channels + begin + e);
        value[e] = one_of<T>(shared, row, 2 * channels + begin + e);
        scratch.queries[e * padded + j] = one_of<T>(shared, row, begin + e);
      }
    }
    for (std::size_t first = 0; first < shared.tokens; first += kEight) {
      for (std::size_t e = 0; e < whole; e += kEight) {
        Eight tile[kEight];
        for (std::size_t i = 0; i < kEight; ++i) {
          // Behind the last token its query again: nobody reads what becomes of it.
          const std::size_t j = std::min(first + i, shared.tokens - 1);
          tile[i] = eight_of<T>(shared, scratch.rows[j], begin + e);
        }
        transpose(tile);
        for (std::size_t i = 0; i < kEight; ++i) {
          tile[i].store(scratch.queries.data() + (e + i) * padded + first);
        }
      }
    }
  }

  /// Logits, in units of ln 2, of a vector of queries with all keys; returns the largest.
  LIC_FAST_TARGET static Vector weigh(const Shared& shared, Scratch& scratch, std::size_t head,
                                      std::size_t first, bool masked) {
    Vector largest = Vector::all(-std::numeric_limits<float>::infinity());
    std::size_t j = 0;
    for (; j + kEight <= shared.tokens; j += kEight) {
      logits<kEight>(shared, scratch, head, first, j, masked, largest);
    }
    for (; j < shared.tokens; ++j) logits<1>(shared, scratch, head, first, j, masked, largest);
    return largest;
  }

  template <std::size_t kKeys>
  LIC_FAST_TARGET LIC_FAST_INLINE static void logits(const Shared& shared, Scratch& scratch,
                                                     std::size_t head, std::size_t first,
                                                     std::size_t j, bool masked, Vector& largest) {
    const std::size_t size = shared.problem.head_size, padded = shared.padded_tokens;
    const float* const queries = scratch.queries.data() + first;
    const float* const keys = scratch.keys.data() + j * size;
    Vector sums[kKeys];
    for (Vector& sum : sums) sum = Vector::zero();
    for (std::size_t e = 0; e < size; ++e) {
      const Vector query = Vector::load(queries + e * padded);
      for (std::size_t k = 0; k < kKeys; ++k) {
        sums[k] = fused(Vector::all(keys[k * size + e]), query, sums[k]);
      }
    }
    const Vector scale = Vector::all(shared.scale);
    for (std::size_t k = 0; k < kKeys; ++k) {
      const float* const bias =
          shared.bias.data() + (head * shared.tokens + j + k) * padded + first;
      Vector logit = fused(sums[k], scale, Vector::load(bias));
      if (masked) {
        const float* const mask = scratch.masks.data() + scratch.regions[j + k] * padded + first;
        logit = add(logit, Vector::load(mask));
      }
      logit.store(scratch.weights.data() + (j + k) * Vector::kWidth);
      largest = maximum(largest, logit);
    }
  }

  /// The values' averages under the exponentials, for a vector of queries.
  template <class T>
  LIC_FAST_TARGET static void average(const Shared& shared, Scratch& scratch, std::size_t head,
                                      std::size_t first, Vector largest) {
    Vector sum = Vector::zero();
    for (std::size_t j = 0; j < shared.tokens; ++j) {
      float* const weight = scratch.weights.data() + j * Vector::kWidth;
      const Vector power = power_of_two(subtract(Vector::load(weight), largest));
      sum = add(sum, power);
      power.store(weight);
    }
    const Vector inverse = divide(Vector::all(1.0f), sum);
    const std::size_t size = shared.problem.head_size;
    std::size_t e = 0;
    for (; e + kEight <= size; e += kEight) {
      averages<T, kEight>(shared, scratch, head, first, e, inverse);
    }
    for (; e < size; ++e) averages<T, 1>(shared, scratch, head, first, e, inverse);
  }

  /// Elements e to e + kElements - 1 of a head.
  template <class T, std::size_t kElements>
  LIC_FAST_TARGET LIC_FAST_INLINE static void averages(const Shared& shared, Scratch& scratch,
                                                       std::size_t head, std::size_t first,
                                                       std::size_t e, Vector inverse) {
    const std::size_t size = shared.problem.head_size;
    const float* const values = scratch.values.data() + e;
    Vector sums[kElements];
    for (Vector& sum : sums) sum = Vector::zero();
    for (std::size_t j = 0; j < shared.tokens; ++j) {
      const Vector weight = Vector::load(scratch.weights.data() + j * Vector::kWidth);
      for (std::size_t i = 0; i < kElements; ++i) {
        sums[i] = fused(Vector::all(values[j * size + i]), weight, sums[i]);
      }
    }
    float results[kElements][Vector::kWidth < kEight ? kEight : Vector::kWidth] = {};
    for (std::size_t i = 0; i < kElements; ++i) multiply(sums[i], inverse).store(results[i]);
    const std::size_t count = std::min(Vector::kWidth, shared.tokens - first);
    const std::size_t begin = head * size + e;
    for (std::size_t q = 0; q < count; q += kEight) {
      const std::size_t some = std::min(kEight, count - q);
      if constexpr (kElements == kEight) {
        Eight tile[kEight];
        for (std::size_t i = 0; i < kEight; ++i) tile[i] = Eight::load(results[i] + q);
        transpose(tile);
        for (std::size_t i = 0; i < some; ++i) {
          T* const out = static_cast<T*>(scratch.outs[first + q + i]);
          if (out != nullptr) tile[i].store(out + begin);
        }
      } else {
        for (std::size_t i = 0; i < some; ++i) {
          T* const out = static_cast<T*>(scratch.outs[first + q + i]);
          if (out != nullptr) out[begin] = cpu::narrow<T>(results[0][q + i]);
        }
      }
    }
  }
};
