// The windows of one row: where their tokens lie, and their heads as arrays of floats, for the
// instruction set of the file that includes this.
//
// That file defines LIC_FAST_TARGET, the attribute of its functions, a struct Vector of kWidth
// floats and a struct Eight of eight, with the operations used below. Everything is in the
// including file's unnamed namespace: no two of them share a function.
//
// Queries lie in the lanes of vectors, and a key or value is one number for all of them: maximum,
// sum and average of the softmax then need no sums across lanes.

struct Windows {
  static constexpr std::size_t kEight = 8;
  static constexpr std::size_t kPadding = static_cast<std::size_t>(-1);

  /// Where a window's tokens lie, and which of them are neighbours.
  struct Places {
    explicit Places(const Shared& shared)
        : tokens(shared.tokens),
          rows(shared.tokens),
          outs(shared.tokens),
          regions(shared.tokens),
          masks(4 * shared.padded_tokens) {}
    std::vector<std::size_t> tokens;   // their numbers in the map; kPadding in the padding
    std::vector<const void*> rows;     // of each token: query, key and value; null in the padding
    std::vector<void*> outs;           // of each token: its result; null in the padding
    std::vector<std::size_t> regions;  // tokens of unequal regions met only through the shift
    cpu::Lines<float> masks;           // (region, padded_tokens): what keys of it add to queries
  };

  /// Finds a window's tokens; whether the shift brought strangers together in it.
  template <class T>
  LIC_FAST_TARGET static bool locate(const Shared& shared, Places& places, std::size_t image,
                                     std::size_t band, std::size_t column) {
    const Problem& p = shared.problem;
    const std::size_t w = p.window, channels = p.heads * p.head_size;
    const std::size_t rows = (p.height + w - 1) / w, columns = (p.width + w - 1) / w;
    const bool last_row = p.shift != 0 && band + 1 == rows;
    const bool last_column = p.shift != 0 && column + 1 == columns;
    std::size_t i = 0;
    for (std::size_t inner_row = 0; inner_row < w; ++inner_row) {
      std::size_t y = band * w + inner_row + p.shift;
      if (y >= rows * w) y -= rows * w;
      for (std::size_t inner_column = 0; inner_column < w; ++inner_column, ++i) {
        std::size_t x = column * w + inner_column + p.shift;
        if (x >= columns * w) x -= columns * w;
        const std::size_t token = (image * p.height + y) * p.width + x;
        const bool inside = y < p.height && x < p.width;
        places.tokens[i] = inside ? token : kPadding;
        places.regions[i] = 2u * (last_row && inner_row >= w - p.shift) +
                            1u * (last_column && inner_column >= w - p.shift);
      }
    }
    address(places, static_cast<const T*>(p.qkv), 3 * channels, places.rows);
    if (!last_row && !last_column) return false;
    for (std::size_t region = 0; region < 4; ++region) {
      for (i = 0; i < shared.tokens; ++i) {
        places.masks[region * shared.padded_tokens + i] =
            places.regions[i] == region ? 0.0f : shared.mask;
      }
    }
    return true;
  }

  /// Where each token's numbers begin in (tokens of the map, width); null in the padding.
  template <class T, class Pointer>
  LIC_FAST_TARGET static void address(const Places& places, T* map, std::size_t width,
                                      std::vector<Pointer>& to) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      to[i] = places.tokens[i] == kPadding ? nullptr : map + places.tokens[i] * width;
    }
  }

  /// One head of a map of such numbers, and what stands for those of the padding.
  template <class T>
  struct Head {
    const std::vector<const void*>& rows;  // of each token
    const float* padding;
    std::size_t begin, size;  // numbers of a row

    LIC_FAST_TARGET LIC_FAST_INLINE Eight eight(std::size_t token, std::size_t e) const {
      const void* const row = rows[token];
      return row == nullptr ? Eight::load(padding + begin + e)
                            : Eight::load(static_cast<const T*>(row) + begin + e);
    }
    LIC_FAST_TARGET LIC_FAST_INLINE float one(std::size_t token, std::size_t e) const {
      const void* const row = rows[token];
      return row == nullptr ? padding[begin + e] : cpu::wide(static_cast<const T*>(row)[begin + e]);
    }
  };

  /// A head as floats, (tokens, stride); what is behind its size stays as it is.
  template <class T>
  LIC_FAST_TARGET static void gather_rows(const Head<T>& head, std::size_t stride, float* to) {
    const std::size_t whole = head.size / kEight * kEight;
    for (std::size_t j = 0; j < head.rows.size(); ++j, to += stride) {
      for (std::size_t e = 0; e < whole; e += kEight) head.eight(j, e).store(to + e);
      for (std::size_t e = whole; e < head.size; ++e) to[e] = head.one(j, e);
    }
  }

  /// A head as floats, transposed: (size, padded_tokens).
  template <class T>
  LIC_FAST_TARGET static void gather_columns(const Head<T>& head, std::size_t padded, float* to) {
    const std::size_t whole = head.size / kEight * kEight, tokens = head.rows.size();
    for (std::size_t first = 0; first < tokens; first += kEight) {
      for (std::size_t e = 0; e < whole; e += kEight) {
        Eight tile[kEight];
        // After the last token its numbers again: no result is read there.
        for (std::size_t i = 0; i < kEight; ++i) {
          tile[i] = head.eight(std::min(first + i, tokens - 1), e);
        }
        transpose(tile);
        for (std::size_t i = 0; i < kEight; ++i) tile[i].store(to + (e + i) * padded + first);
      }
    }
    for (std::size_t e = whole; e < head.size; ++e) {
      for (std::size_t j = 0; j < tokens; ++j) to[e * padded + j] = head.one(j, e);
    }
  }

  /// Keys, or values, of a head as floats and a vector of queries, or of gradients of results.
  struct Factors {
    const float* rows;  // (tokens, stride)
    std::size_t stride;
    const float* columns;  // (size, padded_tokens), from the vector's first token on
    std::size_t size, padded;
  };

  /// Products of kKeys rows, from j on, with a vector of columns.
  template <std::size_t kKeys>
  LIC_FAST_TARGET LIC_FAST_INLINE static void multiply_rows(const Factors& factors, std::size_t j,
                                                            Vector* sums) {
    const float* const rows = factors.rows + j * factors.stride;
    for (std::size_t k = 0; k < kKeys; ++k) sums[k] = Vector::zero();
    for (std::size_t e = 0; e < factors.size; ++e) {
      const Vector column = Vector::load(factors.columns + e * factors.padded);
      for (std::size_t k = 0; k < kKeys; ++k) {
        sums[k] = fused(Vector::all(rows[k * factors.stride + e]), column, sums[k]);
      }
    }
  }

  /// Logits, in units of ln 2, of a vector of queries with all keys, to (tokens, stride); returns
  /// the largest.
  LIC_FAST_TARGET static Vector weigh(const Shared& shared, const Places& places,
                                      const Factors& factors, std::size_t head, std::size_t first,
                                      bool masked, float* to, std::size_t stride) {
    Vector largest = Vector::all(-std::numeric_limits<float>::infinity());
    std::size_t j = 0;
    for (; j + kEight <= shared.tokens; j += kEight) {
      logits<kEight>(shared, places, factors, head, first, j, masked, to + j * stride, stride,
                     largest);
    }
    for (; j < shared.tokens; ++j) {
      logits<1>(shared, places, factors, head, first, j, masked, to + j * stride, stride, largest);
    }
    return largest;
  }

  template <std::size_t kKeys>
  LIC_FAST_TARGET LIC_FAST_INLINE static void logits(const Shared& shared, const Places& places,
                                                     const Factors& factors, std::size_t head,
                                                     std::size_t first, std::size_t j, bool masked,
                                                     float* to, std::size_t stride,
                                                     Vector& largest) {
    const std::size_t padded = shared.padded_tokens;
    Vector sums[kKeys];
    multiply_rows<kKeys>(factors, j, sums);
    const Vector scale = Vector::all(shared.scale);
    for (std::size_t k = 0; k < kKeys; ++k) {
      const float* const bias =
          shared.bias.data() + (head * shared.tokens + j + k) * padded + first;
      Vector logit = fused(sums[k], scale, Vector::load(bias));
      if (masked) {
        const float* const mask = places.masks.data() + places.regions[j + k] * padded + first;
        logit = add(logit, Vector::load(mask));
      }
      logit.store(to + k * stride);
      largest = maximum(largest, logit);
    }
  }

  /// Replaces logits, (tokens, stride), by their exponentials over the largest; returns their sum.
  LIC_FAST_TARGET static Vector exponentials(const Shared& shared, Vector largest, float* weights,
                                             std::size_t stride) {
    Vector sum = Vector::zero();
    for (std::size_t j = 0; j < shared.tokens; ++j, weights += stride) {
      const Vector power = power_of_two(subtract(Vector::load(weights), largest));
      sum = add(sum, power);
      power.store(weights);
    }
    return sum;
  }
};
