// One row of windows: their results. included after windows.inl, which see.

struct Forward : Windows {
  /// Memory of one thread, sized for a window.
  struct Scratch : Places {
    explicit Scratch(const Tables& tables) : Places(tables) {
      const std::size_t size = tables.head_size;
      queries.assign(size * tables.padded_tokens, 0.0f);
      keys.resize(tables.tokens * size);
      values.resize(tables.tokens * size);
      weights.resize(tables.tokens * Vector::kWidth);
    }
    cpu::Lines<float> queries;       // (head_size, padded_tokens): transposed, zero behind
    cpu::Lines<float> keys, values;  // (tokens, head_size)
    cpu::Lines<float> weights;       // (tokens, kWidth): of keys, for a vector of queries
  };

  LIC_FAST_TARGET static void run(const Problem& problem, const WindowRow& window_row) {
    if (problem.tables.bfloat16) {
      of_type<std::uint16_t>(problem, window_row);
    } else {
      of_type<float>(problem, window_row);
    }
  }

  template <class T>
  LIC_FAST_TARGET static void of_type(const Problem& p, const WindowRow& window_row) {
    const Tables& tables = p.tables;
    Scratch scratch(tables);
    const std::size_t columns = (p.width + tables.window - 1) / tables.window;
    for (std::size_t column = 0; column < columns; ++column) {
      const bool masked = locate<T>(p, scratch, window_row, column);
      address<T>(scratch, p.out, window_row.image, scratch.outs);
      for (std::size_t head = 0; head < tables.heads; ++head) {
        gather<T>(tables, scratch, head);
        for (std::size_t first = 0; first < tables.tokens; first += Vector::kWidth) {
          const Factors factors{scratch.keys.data(), tables.head_size,
                                scratch.queries.data() + first, tables.head_size,
                                tables.padded_tokens};
          const Vector largest = weigh(tables, scratch, factors, head, first, masked,
                                       scratch.weights.data(), Vector::kWidth);
          average<T>(tables, scratch, head, first, largest);
        }
      }
    }
  }

  /// A head's queries, transposed, keys and values as floats side by side.
  template <class T>
  LIC_FAST_TARGET static void gather(const Tables& tables, Scratch& scratch, std::size_t head) {
    const std::size_t size = tables.head_size, channels = tables.heads * size;
    Head<T> part{scratch.rows, tables.padding.data(), head * size, size};
    gather_columns(part, tables.padded_tokens, scratch.queries.data());
    part.begin += channels;
    gather_rows(part, size, scratch.keys.data());
    part.begin += channels;
    gather_rows(part, size, scratch.values.data());
  }

  /// The values' averages under the exponentials, for a vector of queries.
  template <class T>
  LIC_FAST_TARGET static void average(const Tables& tables, Scratch& scratch, std::size_t head,
                                      std::size_t first, Vector largest) {
    const Vector sum = exponentials(tables, largest, scratch.weights.data(), Vector::kWidth);
    const Vector inverse = divide(Vector::all(1.0f), sum);
    const std::size_t size = tables.head_size;
    std::size_t e = 0;
    for (; e + kEight <= size; e += kEight) {
      averages<T, kEight>(tables, scratch, head, first, e, inverse);
    }
    for (; e < size; ++e) averages<T, 1>(tables, scratch, head, first, e, inverse);
  }

  /// Elements e to e + kElements - 1 of a head.
  template <class T, std::size_t kElements>
  LIC_FAST_TARGET LIC_FAST_INLINE static void averages(const Tables& tables, Scratch& scratch,
                                                       std::size_t head, std::size_t first,
                                                       std::size_t e, Vector inverse) {
    const std::size_t size = tables.head_size;
    const float* const values = scratch.values.data() + e;
    Vector sums[kElements];
    for (Vector& sum : sums) sum = Vector::zero();
    for (std::size_t j = 0; j < tables.tokens; ++j) {
      const Vector weight = Vector::load(scratch.weights.data() + j * Vector::kWidth);
      for (std::size_t i = 0; i < kElements; ++i) {
        sums[i] = fused(Vector::all(values[j * size + i]), weight, sums[i]);
      }
    }
    float results[kElements][Vector::kWidth < kEight ? kEight : Vector::kWidth] = {};
    for (std::size_t i = 0; i < kElements; ++i) multiply(sums[i], inverse).store(results[i]);
    const std::size_t count = std::min(Vector::kWidth, tables.tokens - first);
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
