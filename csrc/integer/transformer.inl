// Norm, attention and gate, for the instruction set of the file that includes this behind
// exact.inl. Sums are of integers, for which the compiler may choose any order; the rest is single
// operations, written out or those of exact.inl.

struct Transformer {
  LIC_FAST_TARGET static void sigmoid(const float* x, std::size_t count, float* out) {
    constexpr std::size_t kChunk = 64;
    for (std::size_t first = 0; first < count; first += kChunk) {
      const std::size_t n = std::min(kChunk, count - first);
      float e[kChunk] = {};
      for (std::size_t i = 0; i < n; ++i) e[i] = -std::fabs(x[first + i]);
      for (std::size_t i = 0; i < kChunk; i += kLanes) exp(Floats::load(e + i)).store(e + i);
      for (std::size_t i = 0; i < n; ++i) {
        out[first + i] = (x[first + i] < 0.0f ? e[i] : 1.0f) / (e[i] + 1.0f);
      }
    }
  }

  /// round(x * inverse_step), clamped to -largest..largest, as float32.
  LIC_FAST_TARGET static void integers(const float* x, std::size_t count, const float* inverse_step,
                                       std::size_t step, float largest, float* out) {
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      const Floats inverse =
          step == 0 ? Floats::all(*inverse_step) : Floats::load(inverse_step + i);
      clamp(rounded(Floats::load(x + i) * inverse), -largest, largest).store(out + i);
    }
    if (i == count) return;
    const std::size_t bytes = (count - i) * sizeof(float);
    float aside[2][kLanes] = {};
    std::memcpy(aside[0], x + i, bytes);
    if (step == 0) {
      std::fill_n(aside[1], kLanes, *inverse_step);
    } else {
      std::memcpy(aside[1], inverse_step + i, bytes);
    }
    clamp(rounded(Floats::load(aside[0]) * Floats::load(aside[1])), -largest, largest)
        .store(aside[0]);
    std::memcpy(out + i, aside[0], bytes);
  }

  LIC_FAST_TARGET static void layer_norm(const float* x, std::size_t channels, const Norm& norm,
                                         float* out) {
    float rounded_values[kMostNormed];
    integers(x, channels, &norm.inverse_step, 0, kLargestNormed, rounded_values);
    std::int32_t q[kMostNormed];
    std::int32_t total = 0;
    std::int64_t squares = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      q[c] = static_cast<std::int32_t>(rounded_values[c]);
      total += q[c];
      squares += static_cast<std::int64_t>(q[c] * q[c]);
    }
    const auto count = static_cast<std::int32_t>(channels);
    const std::int64_t spread = count * squares - static_cast<std::int64_t>(total) * total;
    const float root = std::sqrt(static_cast<float>(spread) + norm.epsilon);
    for (std::size_t c = 0; c < channels; ++c) {
      const float normed = static_cast<float>(count * q[c] - total) / root;
      const float weighted = normed * norm.weight[c];
      out[c] = weighted + norm.bias[c];
    }
  }

  /// Of the compiler's own vectors, as the loops that it would make of this order sums badly.
  typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));

  /// out[j] = the sum of factors[i] * rows[i][j] for a whole number of vectors.
  template <class Row>
  LIC_FAST_TARGET static void weighted_sum(const std::int32_t* factors, const Row* rows,
                                           std::size_t count, std::size_t padded,
                                           std::int32_t* out) {
    for (std::size_t j = 0; j < padded; j += kLanes) {
      Ints sum = {};
      for (std::size_t i = 0; i < count; ++i) {
        Ints row;
        std::memcpy(&row, rows[i] + j, sizeof row);
        sum += row * factors[i];
      }
      std::memcpy(out + j, &sum, sizeof sum);
    }
  }

  LIC_FAST_TARGET static void attend(const Head& h) {
    const std::size_t tokens = padded(h.tokens), size = padded(h.size);
    // Lanes that stand for no token or channel read zeros.
    std::int32_t keys[kMostChannels][kMostTokens] = {}, values[kMostTokens][kMostChannels] = {};
    for (std::size_t t = 0; t < h.tokens; ++t) {
      const float* const token = h.integers + t * 3 * h.channels + h.first;
      for (std::size_t c = 0; c < h.size; ++c) {
        keys[c][t] = static_cast<std::int32_t>(token[h.channels + c]);
        values[t][c] = static_cast<std::int32_t>(token[2 * h.channels + c]);
      }
    }
    for (std::size_t t = 0; t < h.tokens; ++t) {
      const float* const query = h.integers + t * 3 * h.channels + h.first;
      std::int32_t own[kMostChannels], products[kMostTokens];
      for (std::size_t c = 0; c < h.size; ++c) own[c] = static_cast<std::int32_t>(query[c]);
      weighted_sum(own, keys, h.size, tokens, products);
      // Those without a token count for nothing: exp of minus infinity rounds to zero.
      float logits[kMostTokens];
      std::fill_n(logits, tokens, -std::numeric_limits<float>::infinity());
      for (std::size_t k = 0; k < h.tokens; ++k) {
        const float product = static_cast<float>(products[k]) * h.scale;
        const float logit = product + h.bias[t * h.tokens + k];
        logits[k] = h.region[k] == h.region[t] ? logit : logits[k];
      }
      // A maximum for each lane: the compiler may not reorder comparisons of floats.
      float most[kLanes];
      std::copy_n(logits, kLanes, most);
      for (std::size_t k = kLanes; k < tokens; k += kLanes) {
        for (std::size_t i = 0; i < kLanes; ++i) {
          most[i] = logits[k + i] > most[i] ? logits[k + i] : most[i];
        }
      }
      const Floats largest = Floats::all(*std::max_element(most, most + kLanes));
      std::int32_t weights[kMostTokens], total = 0, sums[kMostChannels];
      for (std::size_t k = 0; k < tokens; k += kLanes) {
        const Floats e = exp(Floats::load(logits + k) - largest);
        rounded(e * Floats::all(16384.0f)).store(logits + k);
      }
      for (std::size_t k = 0; k < tokens; ++k) {
        weights[k] = static_cast<std::int32_t>(logits[k]);
        total += weights[k];
      }
      weighted_sum(weights, values, h.tokens, size, sums);
      float* const out = h.out[t] + h.first;
      for (std::size_t c = 0; c < h.size; ++c) {
        const float mean = static_cast<float>(sums[c]) / static_cast<float>(total);
        out[c] = mean * h.value_step[c];
      }
    }
  }

  /// Up to whole vectors.
  static constexpr std::size_t padded(std::size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }
};
