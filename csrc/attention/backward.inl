// One row of windows: their gradients. Included behind windows.inl, which see.
//
// A head's weights and the gradients of its logits, (keys, padded queries), are made with queries
// in the lanes of vectors. What they are multiplied with has a token's numbers in the lanes, so
// that the same loop takes a matrix or its transpose.

struct Backward : Windows {
  /// Memory of one thread, sized for a window.
  struct Scratch : Places {
    explicit Scratch(const Tables& tables)
        : Places(tables),
          grads(tables.tokens),
          results(tables.tokens),
          stride((tables.head_size + Vector::kWidth - 1) / Vector::kWidth * Vector::kWidth) {
      const std::size_t rows = tables.tokens * stride;
      const std::size_t columns = tables.head_size * tables.padded_tokens;
      const std::size_t matrix = tables.tokens * tables.padded_tokens;
      for (auto* const each : {&queries, &keys, &values, &gradients}) each->assign(rows, 0.0f);
      for (auto* const each : {&turned_queries, &turned_gradients}) each->assign(columns, 0.0f);
      for (auto* const each : {&weights, &logits}) each->assign(matrix, 0.0f);
      products.resize(rows);
      sums.assign(tables.heads * matrix, 0.0f);
      zeros.assign(tables.heads * tables.head_size, 0.0f);
    }
    std::vector<const void*> grads;                      // of each token: the result's gradient
    std::vector<void*> results;                          // of each token: its own gradient's place
    std::size_t stride;                                  // head_size to whole vectors
    cpu::Lines<float> queries, keys, values;             // (tokens, stride), zero behind head_size
    cpu::Lines<float> gradients;                         // the result's, likewise
    cpu::Lines<float> turned_queries, turned_gradients;  // (head_size, padded_tokens)
    cpu::Lines<float> weights, logits;  // (keys, padded queries): softmax, the logits' gradients
    cpu::Lines<float> products;         // (tokens, stride)
    cpu::Lines<float> sums;             // (heads, keys, padded queries): logits over all windows
    std::vector<float> zeros;           // the result's gradient in the padding
  };

  LIC_FAST_TARGET static void run(const Problem& problem, const RowGradients& gradients,
                                  const WindowRow& window_row) {
    if (problem.tables.bfloat16) {
      of_type<std::uint16_t>(problem, gradients, window_row);
    } else {
      of_type<float>(problem, gradients, window_row);
    }
  }

  template <class T>
  LIC_FAST_TARGET static void of_type(const Problem& p, const RowGradients& gradients,
                                      const WindowRow& window_row) {
    const Tables& tables = p.tables;
    Scratch scratch(tables);
    const std::size_t columns = (p.width + tables.window - 1) / tables.window;
    const std::size_t channels = tables.heads * tables.head_size;
    for (std::size_t column = 0; column < columns; ++column) {
      const bool masked = locate<T>(p, scratch, window_row, column);
      address<const T>(scratch, gradients.grad, window_row.image, scratch.grads);
      address<T>(scratch, gradients.qkv, window_row.image, scratch.results);
      for (std::size_t head = 0; head < tables.heads; ++head) {
        gather<T>(tables, scratch, head);
        float* const sums = scratch.sums.data() + head * tables.tokens * tables.padded_tokens;
        for (std::size_t first = 0; first < tables.tokens; first += Vector::kWidth) {
          differentiate(tables, scratch, head, first, masked, sums + first);
        }
        const std::size_t begin = head * tables.head_size, padded = tables.padded_tokens;
        combine(tables, scratch, scratch.logits.data(), 1, padded, scratch.keys.data(),
                tables.factor);
        scatter<T>(tables, scratch, begin, gradients.pad);
        combine(tables, scratch, scratch.logits.data(), padded, 1, scratch.queries.data(),
                tables.factor);
        scatter<T>(tables, scratch, channels + begin, gradients.pad);
        combine(tables, scratch, scratch.weights.data(), padded, 1, scratch.gradients.data(), 1.0f);
        scatter<T>(tables, scratch, 2 * channels + begin, gradients.pad);
      }
    }
    for (std::size_t head = 0; head < tables.heads; ++head)
      sum_by_position(tables, scratch, head, gradients.table);
  }

  template <class T>
  LIC_FAST_TARGET static void gather(const Tables& tables, Scratch& scratch, std::size_t head) {
    const std::size_t size = tables.head_size, channels = tables.heads * size;
    Head<T> part{scratch.rows, tables.padding.data(), head * size, size};
    gather_rows(part, scratch.stride, scratch.queries.data());
    gather_columns(part, tables.padded_tokens, scratch.turned_queries.data());
    part.begin += channels;
    gather_rows(part, scratch.stride, scratch.keys.data());
    part.begin += channels;
    gather_rows(part, scratch.stride, scratch.values.data());
    const Head<T> grad{scratch.grads, scratch.zeros.data(), head * size, size};
    gather_rows(grad, scratch.stride, scratch.gradients.data());
    gather_columns(grad, tables.padded_tokens, scratch.turned_gradients.data());
  }

  /// The weights of a vector of queries and the gradients of their logits, which are added to sums.
  LIC_FAST_TARGET static void differentiate(const Tables& tables, Scratch& scratch,
                                            std::size_t head, std::size_t first, bool masked,
                                            float* sums) {
    const std::size_t size = tables.head_size, padded = tables.padded_tokens;
    float* const weights = scratch.weights.data() + first;
    float* const logits = scratch.logits.data() + first;
    const Factors keys{scratch.keys.data(), scratch.stride, scratch.turned_queries.data() + first,
                       size, padded};
    const Vector largest = weigh(tables, scratch, keys, head, first, masked, weights, padded);
    const Vector sum = exponentials(tables, largest, weights, padded);
    const Vector inverse = divide(Vector::all(1.0f), sum);
    const Factors values{scratch.values.data(), scratch.stride,
                         scratch.turned_gradients.data() + first, size, padded};
    Vector mean = Vector::zero();  // of the weights' gradients, under the weights
    std::size_t j = 0;
    for (; j + kEight <= tables.tokens; j += kEight) {
      weight_gradients<kEight>(values, j, inverse, weights, logits, mean);
    }
    for (; j < tables.tokens; ++j) {
      weight_gradients<1>(values, j, inverse, weights, logits, mean);
    }
    for (j = 0; j < tables.tokens * padded; j += padded) {
      const Vector gradient =
          multiply(Vector::load(weights + j), subtract(Vector::load(logits + j), mean));
      gradient.store(logits + j);
      add(Vector::load(sums + j), gradient).store(sums + j);
    }
  }

  template <std::size_t kKeys>
  LIC_FAST_TARGET LIC_FAST_INLINE static void weight_gradients(const Factors& values, std::size_t j,
                                                               Vector inverse, float* weights,
                                                               float* gradients, Vector& mean) {
    Vector products[kKeys];
    multiply_rows<kKeys>(values, j, products);
    for (std::size_t k = 0; k < kKeys; ++k) {
      const std::size_t place = (j + k) * values.padded;
      const Vector weight = multiply(Vector::load(weights + place), inverse);
      weight.store(weights + place);
      products[k].store(gradients + place);
      mean = fused(weight, products[k], mean);
    }
  }

  /// A matrix, whose rows and columns are so far apart, times rows, times the scale.
  LIC_FAST_TARGET static void combine(const Tables& tables, Scratch& scratch, const float* matrix,
                                      std::size_t row, std::size_t column, const float* rows,
                                      float scale) {
    for (std::size_t e = 0; e < scratch.stride; e += Vector::kWidth) {
      std::size_t i = 0;
      for (; i + kEight <= tables.tokens; i += kEight) {
        combinations<kEight>(tables, scratch, matrix + i * row, row, column, rows + e, scale,
                             scratch.products.data() + i * scratch.stride + e);
      }
      for (; i < tables.tokens; ++i) {
        combinations<1>(tables, scratch, matrix + i * row, row, column, rows + e, scale,
                        scratch.products.data() + i * scratch.stride + e);
      }
    }
  }

  /// A vector of each of kRows rows of that product.
  template <std::size_t kRows>
  LIC_FAST_TARGET LIC_FAST_INLINE static void combinations(const Tables& tables,
                                                           const Scratch& scratch,
                                                           const float* matrix, std::size_t row,
                                                           std::size_t column, const float* rows,
                                                           float scale, float* products) {
    Vector sums[kRows];
    for (Vector& sum : sums) sum = Vector::zero();
    for (std::size_t j = 0; j < tables.tokens; ++j) {
      const Vector vector = Vector::load(rows + j * scratch.stride);
      const float* const factors = matrix + j * column;
      for (std::size_t k = 0; k < kRows; ++k) {
        sums[k] = fused(Vector::all(factors[k * row]), vector, sums[k]);
      }
    }
    for (std::size_t k = 0; k < kRows; ++k) {
      multiply(sums[k], Vector::all(scale)).store(products + k * scratch.stride);
    }
  }

  /// The products to where they belong: into the map from number `begin` of each token on, or,
  /// where the token is padding, into the sums of its gradients if these are asked for.
  template <class T>
  LIC_FAST_TARGET static void scatter(const Tables& tables, const Scratch& scratch,
                                      std::size_t begin, float* pad) {
    const std::size_t size = tables.head_size, whole = size / kEight * kEight;
    const float* products = scratch.products.data();
    for (std::size_t i = 0; i < tables.tokens; ++i, products += scratch.stride) {
      if (scratch.results[i] != nullptr) {
        T* const to = static_cast<T*>(scratch.results[i]) + begin;
        for (std::size_t e = 0; e < whole; e += kEight) Eight::load(products + e).store(to + e);
        for (std::size_t e = whole; e < size; ++e) to[e] = cpu::narrow<T>(products[e]);
      } else if (pad != nullptr) {
        for (std::size_t e = 0; e < size; ++e) pad[begin + e] += products[e];
      }
    }
  }

  /// Adds a head's sums over windows up by the relative positions of query and key.
  LIC_FAST_TARGET static void sum_by_position(const Tables& tables, const Scratch& scratch,
                                              std::size_t head, float* table) {
    const std::size_t w = tables.window, side = 2 * w - 1, heads = tables.heads;
    const float* const sums = scratch.sums.data() + head * tables.tokens * tables.padded_tokens;
    for (std::size_t row = 0; row < side; ++row) {  // distance of the rows, and w - 1
      for (std::size_t key_column = 0; key_column < w; ++key_column) {
        float run[kMaxWindow] = {};  // of each column of queries
        const std::size_t first = row < w - 1 ? w - 1 - row : 0, last = std::min(w, side - row);
        for (std::size_t key_row = first; key_row < last; ++key_row) {
          const std::size_t query_row = key_row + row - (w - 1);
          const float* const from =
              sums + (key_row * w + key_column) * tables.padded_tokens + query_row * w;
          for (std::size_t x = 0; x < w; ++x) run[x] += from[x];
        }
        for (std::size_t x = 0; x < w; ++x) {
          table[(row * side + x + w - 1 - key_column) * heads + head] += run[x];
        }
      }
    }
  }
};
