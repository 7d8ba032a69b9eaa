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

  /// A token's row and column in the map.
  struct Token {
    std::size_t row, column;
    bool there;  // or else padding, or of rows that are not computed
  };

  /// Where a window's tokens lie, and which of them are neighbours.
  struct Places {
    explicit Places(const Tables& tables)
        : tokens(tables.tokens),
          rows(tables.tokens),
          outs(tables.tokens),
          regions(tables.tokens),
          masks(4 * tables.padded_tokens) {}
    std::vector<Token> tokens;
    std::vector<const void*> rows;     // of each token: query, key and value; null if not there
    std::vector<void*> outs;           // of each token: its result; null if not there
    std::vector<std::size_t> regions;  // tokens of unequal regions met only through the shift
    cpu::Lines<float> masks;           // (region, padded_tokens): what keys of it add to queries
  };

  /// Finds a window's tokens; whether the shift brought strangers together in it.
  template <class T>
  LIC_FAST_TARGET static bool locate(const Problem& p, Places& places, const WindowRow& window_row,
                                     std::size_t column) {
    const Tables& tables = p.tables;
    const std::size_t w = tables.window, shift = tables.shift;
    const std::size_t rows = (p.height + w - 1) / w, columns = (p.width + w - 1) / w;
    const bool last_row = shift != 0 && window_row.index + 1 == rows;
    const bool last_column = shift != 0 && column + 1 == columns;
    std::size_t i = 0;
    for (std::size_t inner_row = 0; inner_row < w; ++inner_row) {
      std::size_t y = window_row.index * w + inner_row + shift;
      if (y >= rows * w) y -= rows * w;
      const bool computed = inner_row >= window_row.begin && inner_row < window_row.end;
      for (std::size_t inner_column = 0; inner_column < w; ++inner_column, ++i) {
        std::size_t x = column * w + inner_column + shift;
        if (x >= columns * w) x -= columns * w;
        places.tokens[i] = {y, x, computed && y < p.height && x < p.width};
        places.regions[i] = 2u * (last_row && inner_row >= w - shift) +
                            1u * (last_column && inner_column >= w - shift);
      }
    }
    address<const T>(places, p.qkv, window_row.image, places.rows);
    if (!last_row && !last_column) return false;
    // What stands for the other part's tokens, where only one is computed, has no weight at all.
    const bool part = window_row.end - window_row.begin < w;
    const float other_rows = part ? -std::numeric_limits<float>::infinity() : tables.mask;
    for (std::size_t region = 0; region < 4; ++region) {
      for (i = 0; i < tables.tokens; ++i) {
        const std::size_t differs = places.regions[i] ^ region;
        places.masks[region * tables.padded_tokens + i] = differs == 0          ? 0.0f
                                                          : (differs & 2u) != 0 ? other_rows
                                                                                : tables.mask;
      }
    }
    return true;
  }

  /// Where each token's numbers begin in a map; null if it is not there.
  template <class T, class Data, class Pointer>
  LIC_FAST_TARGET static void address(const Places& places, const Map<Data>& map, std::size_t image,
                                      std::vector<Pointer>& to) {
    T* const data = static_cast<T*>(map.data) + image * map.image;
    for (std::size_t i = 0; i < to.size(); ++i) {
      const Token& token = places.tokens[i];
      to[i] = token.there ? data + token.row * map.row + token.column * map.pixel : nullptr;
    }
  }

  /// One head of a map of such numbers, and what stands for those that are not there.
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
  LIC_FAST_TARGET static Vector weigh(const Tables& tables, const Places& places,
                                      const Factors& factors, std::size_t head, std::size_t first,
                                      bool masked, float* to, std::size_t stride) {
    Vector largest = Vector::all(-std::numeric_limits<float>::infinity());
    std::size_t j = 0;
    for (; j + kEight <= tables.tokens; j += kEight) {
      logits<kEight>(tables, places, factors, head, first, j, masked, to + j * stride, stride,
                     largest);
    }
    for (; j < tables.tokens; ++j) {
      logits<1>(tables, places, factors, head, first, j, masked, to + j * stride, stride, largest);
    }
    return largest;
  }

  template <std::size_t kKeys>
  LIC_FAST_TARGET LIC_FAST_INLINE static void logits(const Tables& tables, const Places& places,
                                                     const Factors& factors, std::size_t head,
                                                     std::size_t first, std::size_t j, bool masked,
                                                     float* to, std::size_t stride,
                                                     Vector& largest) {
    const std::size_t padded = tables.padded_tokens;
    Vector sums[kKeys];
    multiply_rows<kKeys>(factors, j, sums);
    const Vector scale = Vector::all(tables.scale);
    for (std::size_t k = 0; k < kKeys; ++k) {
      const float* const bias =
          tables.bias.data() + (head * tables.tokens + j + k) * padded + first;
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
  LIC_FAST_TARGET static Vector exponentials(const Tables& tables, Vector largest, float* weights,
                                             std::size_t stride) {
    Vector sum = Vector::zero();
    for (std::size_t j = 0; j < tables.tokens; ++j, weights += stride) {
      const Vector power = power_of_two(subtract(Vector::load(weights), largest));
      sum = add(sum, power);
      power.store(weights);
    }
    return sum;
  }
};
