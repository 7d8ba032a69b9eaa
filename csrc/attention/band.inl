// One row of windows: their results. Included behind windows.inl, which see.

struct Band : Windows {
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
      address(scratch, static_cast<T*>(p.out), p.heads * p.head_size, scratch.outs);
      for (std::size_t head = 0; head < p.heads; ++head) {
        gather<T>(shared, scratch, head);
        for (std::size_t first = 0; first < shared.tokens; first += Vector::kWidth) {
          const Factors factors{scratch.keys.data(), p.head_size, scratch.queries.data() + first,
                                p.head_size, shared.padded_tokens};
          const Vector largest = weigh(shared, scratch, factors, head, first, masked,
                                       scratch.weights.data(), Vector::kWidth);
          average<T>(shared, scratch, head, first, largest);
        }
      }
    }
  }

  /// A head's queries, transposed, keys and values as floats side by side.
  template <class T>
  LIC_FAST_TARGET static void gather(const Shared& shared, Scratch& scratch, std::size_t head) {
    const std::size_t size = shared.problem.head_size, channels = shared.problem.heads * size;
    Head<T> part{scratch.rows, shared.padding, head * size, size};
    gather_columns(part, shared.padded_tokens, scratch.queries.data());
    part.begin += channels;
    gather_rows(part, size, scratch.keys.data());
    part.begin += channels;
    gather_rows(part, size, scratch.values.data());
  }

  /// The values' averages under the exponentials, for a vector of queries.
  template <class T>
  LIC_FAST_TARGET static void average(const Shared& shared, Scratch& scratch, std::size_t head,
                                      std::size_t first, Vector largest) {
    const Vector sum = exponentials(shared, largest, scratch.weights.data(), Vector::kWidth);
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
