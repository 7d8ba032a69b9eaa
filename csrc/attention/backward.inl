// One row of windows: their gradients. Included behind windows.inl, which see.
//
// A head's weights and the gradients of its logits, (keys, padded queries), are made with queries
// in the lanes of vectors. What they are multiplied with has a token's numbers in the lanes, so
// that the same loop takes a matrix or its transpose.

struct Backward : Windows {
  /// Memory of one thread, sized for a window.
  struct Scratch : Places {
    explicit Scratch(const Shared& shared)
        : Places(shared),
          grads(shared.tokens),
          results(shared.tokens),
          stride((shared.problem.head_size + Vector::kWidth - 1) / Vector::kWidth *
                 Vector::kWidth) {
      const std::size_t rows = shared.tokens * stride;
      const std::size_t columns = shared.problem.head_size * shared.padded_tokens;
      const std::size_t matrix = shared.tokens * shared.padded_tokens;
      for (auto* const each : {&queries, &keys, &values, &gradients}) each->assign(rows, 0.0f);
      for (auto* const each : {&turned_queries, &turned_gradients}) each->assign(columns, 0.0f);
      for (auto* const each : {&weights, &logits}) each->assign(matrix, 0.0f);
      products.resize(rows);
      sums.assign(shared.problem.heads * matrix, 0.0f);
      zeros.assign(shared.problem.heads * shared.problem.head_size, 0.0f);
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

  LIC_FAST_TARGET static void run(const Shared& shared, const BandGradients& gradients,
                                  std::size_t image, std::size_t band) {
    if (shared.problem.bfloat16) {
      of_type<std::uint16_t>(shared, gradients, image, band);
    } else {
      of_type<float>(shared, gradients, image, band);
    }
  }

  template <class T>
  LIC_FAST_TARGET static void of_type(const Shared& shared, const BandGradients& gradients,
                                      std::size_t image, std::size_t band) {
    const Problem& p = shared.problem;
    Scratch scratch(shared);
    const std::size_t columns = (p.width + p.window - 1) / p.window;
    const std::size_t channels = p.heads * p.head_size;
    for (std::size_t column = 0; column < columns; ++column) {
      const bool masked = locate<T>(shared, scratch, image, band, column);
      address(scratch, static_cast<const T*>(gradients.grad), channels, scratch.grads);
      address(scratch, static_cast<T*>(gradients.qkv), 3 * channels, scratch.results);
      for (std::size_t head = 0; head < p.heads; ++head) {
        gather<T>(shared, scratch, head);
        float* const sums = scratch.sums.data() + head * shared.tokens * shared.padded_tokens;
        for (std::size_t first = 0; first < shared.tokens; first += Vector::kWidth) {
          differentiate(shared, scratch, head, first, masked, sums + first);
        }
        const std::size_t begin = head * p.head_size, padded = shared.padded_tokens;
        combine(shared, scratch, scratch.logits.data(), 1, padded, scratch.keys.data(), p.scale);
        scatter<T>(shared, scratch, begin, gradients.pad);
        combine(shared, scratch, scratch.logits.data(), padded, 1, scratch.queries.data(), p.scale);
        scatter<T>(shared, scratch, channels + begin, gradients.pad);
        combine(shared, scratch, scratch.weights.data(), padded, 1, scratch.gradients.data(), 1.0f);
        scatter<T>(shared, scratch, 2 * channels + begin, gradients.pad);
      }
    }
    for (std::size_t head = 0; head < p.heads; ++head)
      sum_by_position(shared, scratch, head, gradients.table);
  }

  template <class T>
  LIC_FAST_TARGET static void gather(const Shared& shared, Scratch& scratch, std::size_t head) {
    const std::size_t size = shared.problem.head_size, channels = shared.problem.heads * size;
    Head<T> part{scratch.rows, shared.padding, head * size, size};
    gather_rows(part, scratch.stride, scratch.queries.data());
    gather_columns(part, shared.padded_tokens, scratch.turned_queries.data());
    part.begin += channels;
    gather_rows(part, scratch.stride, scratch.keys.data());
    part.begin += channels;
    gather_rows(part, scratch.stride, scratch.values.data());
    const Head<T> grad{scratch.grads, scratch.zeros.data(), head * size, size};
    gather_rows(grad, scratch.stride, scratch.gradients.data());
    gather_columns(grad, shared.padded_tokens, scratch.turned_gradients.data());
  }

  /// The weights of a vector of queries and the gradients of their logits, which are added to sums.
  LIC_FAST_TARGET static void differentiate(const Shared& shared, Scratch& scratch,
                                            std::size_t head, std::size_t first, bool masked,
                                            float* sums) {
    const std::size_t size = shared.problem.head_size, padded = shared.padded_tokens;
    float* const weights = scratch.weights.data() + first;
    float* const logits = scratch.logits.data() + first;
    const Factors keys{scratch.keys.data(), scratch.stride, scratch.turned_queries.data() + first,
                       size, padded};
    const Vector largest = weigh(shared, scratch, keys, head, first, masked, weights, padded);
    const Vector sum = exponentials(shared, largest, weights, padded);
    const Vector inverse = divide(Vector::all(1.0f), sum);
    const Factors values{scratch.values.data(), scratch.stride,
                         scratch.turned_gradients.data() + first, size, padded};
    Vector mean = Vector::zero();  // of the weights' gradients, under the weights
    std::size_t j = 0;
    for (; j + kEight <= shared.tokens; j += kEight) {
      weight_gradients<kEight>(values, j, inverse, weights, logits, mean);
    }
    for (; j < shared.tokens; ++j) {
      weight_gradients<1>(values, j, inverse, weights, logits, mean);
    }
    for (j = 0; j < shared.tokens * padded; j += padded) {
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
  LIC_FAST_TARGET static void combine(const Shared& shared, Scratch& scratch, const float* matrix,
                                      std::size_t row, std::size_t column, const float* rows,
                                      float scale) {
    for (std::size_t e = 0; e < scratch.stride; e += Vector::kWidth) {
      std::size_t i = 0;
      for (; i + kEight <= shared.tokens; i += kEight) {
        combinations<kEight>(shared, scratch, matrix + i * row, row, column, rows + e, scale,
                             scratch.products.data() + i * scratch.stride + e);
      }
      for (; i < shared.tokens; ++i) {
        combinations<1>(shared, scratch, matrix + i * row, row, column, rows + e, scale,
                        scratch.products.data() + i * scratch.stride + e);
      }
    }
  }

  /// A vector of each of kRows rows of that product.
  template <std::size_t kRows>
  LIC_FAST_TARGET LIC_FAST_INLINE static void combinations(const Shared& shared,
                                                           const Scratch& scratch,
                                                           const float* matrix, std::size_t row,
                                                           std::size_t column, const float* rows,
                                                           float scale, float* products) {
    Vector sums[kRows];
    for (Vector& sum : sums) sum = Vector::zero();
    for (std::size_t j = 0; j < shared.tokens; ++j) {
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
  LIC_FAST_TARGET static void scatter(const Shared& shared, const Scratch& scratch,
                                      std::size_t begin, float* pad) {
    const std::size_t size = shared.problem.head_size, whole = size / kEight * kEight;
    const float* products = scratch.products.data();
    for (std::size_t i = 0; i < shared.tokens; ++i, products += scratch.stride) {
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
  LIC_FAST_TARGET static void sum_by_position(const Shared& shared, const Scratch& scratch,
                                              std::size_t head, float* table) {
    const std::size_t w = shared.problem.window, side = 2 * w - 1, heads = shared.problem.heads;
    const float* const sums = scratch.sums.data() + head * shared.tokens * shared.padded_tokens;
    for (std::size_t row = 0; row < side; ++row) {  // distance of the rows, and w - 1
      for (std::size_t key_column = 0; key_column < w; ++key_column) {
        float run[kMaxWindow] = {};  // of each column of queries
        const std::size_t first = row < w - 1 ? w - 1 - row : 0, last = std::min(w, side - row);
        for (std::size_t key_row = first; key_row < last; ++key_row) {
          const std::size_t query_row = key_row + row - (w - 1);
          const float* const from =
              sums + (key_row * w + key_column) * shared.padded_tokens + query_row * w;
          for (std::size_t x = 0; x < w; ++x) run[x] += from[x];
        }
        for (std::size_t x = 0; x < w; ++x) {
          table[(row * side + x + w - 1 - key_column) * heads + head] += run[x];
        }
      }
    }
  }
};
