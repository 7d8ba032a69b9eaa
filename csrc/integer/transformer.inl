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

  /// round(x * inverse_step), clamped to -largest..largest, in 16 bits.
  LIC_FAST_TARGET static void words(const float* x, std::size_t count, const float* inverse_step,
                                    float largest, std::int16_t* out) {
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      clamp(rounded(Floats::load(x + i) * Floats::load(inverse_step + i)), -largest, largest)
          .store_words(out + i);
    }
    if (i == count) return;
    float aside[2][kLanes] = {};
    std::int16_t last[kLanes];
    std::memcpy(aside[0], x + i, (count - i) * sizeof(float));
    std::memcpy(aside[1], inverse_step + i, (count - i) * sizeof(float));
    clamp(rounded(Floats::load(aside[0]) * Floats::load(aside[1])), -largest, largest)
        .store_words(last);
    std::memcpy(out + i, last, (count - i) * sizeof(std::int16_t));
  }

  LIC_FAST_TARGET static void attend(const Head& h) {
    alignas(64) std::int32_t keys[kMostChannels / 2][kMostTokens];
    alignas(64) std::int32_t values[kMostTokens / 2][kMostChannels];
    const std::size_t tokens = padded(h.tokens), size = padded(h.size);
    const std::size_t pairs = (h.size + 1) / 2;
    pack_keys(h, tokens, keys);
    pack_values(h, size, values);
    // What a token of each region does not see is infinitely far away, and so is what is no token.
    constexpr float kFar = -std::numeric_limits<float>::infinity();
    float distance[kRegions][kMostTokens], bias[kMostTokens];
    bool apart = false;
    for (std::size_t k = 0; k < h.tokens; ++k) apart = apart || h.region[k] != h.region[0];
    for (std::size_t region = 0; apart && region < kRegions; ++region) {
      std::fill_n(distance[region], tokens, 0.0f);
      for (std::size_t k = 0; k < h.tokens; ++k) {
        if (h.region[k] != region) distance[region][k] = kFar;
      }
    }
    std::fill_n(bias, tokens, kFar);
    for (std::size_t t = 0; t < h.tokens; ++t) {
      const std::int16_t* query = h.words + t * 3 * h.channels + h.first;
      std::int16_t even[kMostChannels];
      if (h.size % 2 != 0) {
        std::copy_n(query, h.size, even);
        even[h.size] = 0;
        query = even;
      }
      const float* own_bias = h.bias + t * h.tokens;
      if (tokens != h.tokens) {
        std::copy_n(own_bias, h.tokens, bias);
        own_bias = bias;
      }
      const float* const own_distance = apart ? distance[h.region[t]] : nullptr;
      alignas(64) float logits[kMostTokens];
      const float most =
          logits_of(query, pairs, keys, tokens, h.scale, own_bias, own_distance, logits);
      // One more, where the last pair has one token.
      alignas(64) std::int16_t weights[kMostTokens + 1];
      weights[tokens] = 0;
      const std::int32_t total = weights_of(logits, tokens, most, weights);
      mean_of(weights, (h.tokens + 1) / 2, values, h.size, static_cast<float>(total), h.value_step,
              h.out[t] + h.first);
    }
  }

 private:
  /// Vectors that are computed in step, as each of them waits for its own last operation.
  static constexpr std::size_t kTogether = 4;
  static constexpr std::size_t kRegions = 4;

  static std::int32_t pair(std::int16_t low, std::int16_t high) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(static_cast<std::uint16_t>(low)) |
                                     static_cast<std::uint32_t>(static_cast<std::uint16_t>(high))
                                         << 16);
  }

  /// Pairs of channels, of all tokens and of as many more as fill a vector.
  LIC_FAST_TARGET static void pack_keys(const Head& h, std::size_t tokens,
                                        std::int32_t (*keys)[kMostTokens]) {
    for (std::size_t c = 0; c < h.size; c += 2) std::fill_n(keys[c / 2], tokens, 0);
    for (std::size_t t = 0; t < h.tokens; ++t) {
      const std::int16_t* const key = h.words + (t * 3 + 1) * h.channels + h.first;
      for (std::size_t c = 0; c + 1 < h.size; c += 2) keys[c / 2][t] = pair(key[c], key[c + 1]);
      if (h.size % 2 != 0) keys[h.size / 2][t] = pair(key[h.size - 1], 0);
    }
  }

  /// Pairs of tokens, of all channels and of as many more as fill a vector.
  LIC_FAST_TARGET static void pack_values(const Head& h, std::size_t size,
                                          std::int32_t (*values)[kMostChannels]) {
    const std::int16_t zeros[kMostChannels] = {};
    for (std::size_t t = 0; t < h.tokens; t += 2) {
      const std::int16_t* const first = h.words + (t * 3 + 2) * h.channels + h.first;
      const std::int16_t* const second = t + 1 < h.tokens ? first + 3 * h.channels : zeros;
      std::int32_t* const to = values[t / 2];
      for (std::size_t c = 0; c < h.size; ++c) to[c] = pair(first[c], second[c]);
      std::fill(to + h.size, to + size, 0);
    }
  }

  /// Logits of a query, and the largest one.
  LIC_FAST_TARGET static float logits_of(const std::int16_t* query, std::size_t pairs,
                                         const std::int32_t (*keys)[kMostTokens],
                                         std::size_t tokens, float scale, const float* bias,
                                         const float* distance, float* logits) {
    Floats most = Floats::all(-std::numeric_limits<float>::infinity());
    std::size_t k = 0;
    for (; k + kTogether * kLanes <= tokens; k += kTogether * kLanes) {
      most = some_logits<kTogether>(query, pairs, keys, k, scale, bias, distance, logits, most);
    }
    for (; k < tokens; k += kLanes) {
      most = some_logits<1>(query, pairs, keys, k, scale, bias, distance, logits, most);
    }
    return largest(most);
  }

  template <std::size_t V>
  LIC_FAST_TARGET LIC_FAST_INLINE static Floats some_logits(
      const std::int16_t* query, std::size_t pairs, const std::int32_t (*keys)[kMostTokens],
      std::size_t first, float scale, const float* bias, const float* distance, float* logits,
      Floats most) {
    Ints products[V];
    for (Ints& product : products) product = Ints::zero();
    for (std::size_t p = 0; p < pairs; ++p) {
      const Ints own = Ints::pair(query + 2 * p);
      for (std::size_t j = 0; j < V; ++j) {
        products[j] = with_products(products[j], own, Ints::load(keys[p] + first + j * kLanes));
      }
    }
    for (std::size_t j = 0; j < V; ++j) {
      const std::size_t k = first + j * kLanes;
      Floats logit = Floats::of(products[j]) * Floats::all(scale) + Floats::load(bias + k);
      if (distance != nullptr) logit = logit + Floats::load(distance + k);
      logit.store(logits + k);
      most = at_least(most, logit);
    }
    return most;
  }

  /// round(16384 * exp(logit - most)), and their sum.
  LIC_FAST_TARGET static std::int32_t weights_of(const float* logits, std::size_t tokens,
                                                 float most, std::int16_t* weights) {
    Ints total = Ints::zero();
    std::size_t k = 0;
    for (; k + kTogether * kLanes <= tokens; k += kTogether * kLanes) {
      total = some_weights<kTogether>(logits + k, most, weights + k, total);
    }
    for (; k < tokens; k += kLanes) total = some_weights<1>(logits + k, most, weights + k, total);
    return sum(total);
  }

  template <std::size_t V>
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints some_weights(const float* logits, float most,
                                                           std::int16_t* weights, Ints total) {
    Floats e[V];
    for (std::size_t j = 0; j < V; ++j) {
      e[j] = Floats::load(logits + j * kLanes) - Floats::all(most);
    }
    exp(e);
    for (std::size_t j = 0; j < V; ++j) {
      const Floats weight = rounded(e[j] * Floats::all(16384.0f));
      weight.store_words(weights + j * kLanes);
      total = total + Ints::of(weight);
    }
    return total;
  }

  /// The mean of the values by these weights.
  LIC_FAST_TARGET static void mean_of(const std::int16_t* weights, std::size_t pairs,
                                      const std::int32_t (*values)[kMostChannels], std::size_t size,
                                      float total, const float* step, float* out) {
    for (std::size_t c = 0; c < size; c += kLanes) {
      Ints sums[kTogether];
      for (Ints& part : sums) part = Ints::zero();
      std::size_t p = 0;
      for (; p + kTogether <= pairs; p += kTogether) {
        for (std::size_t j = 0; j < kTogether; ++j) {
          sums[j] = with_products(sums[j], Ints::pair(weights + 2 * (p + j)),
                                  Ints::load(values[p + j] + c));
        }
      }
      for (; p < pairs; ++p) {
        sums[0] = with_products(sums[0], Ints::pair(weights + 2 * p), Ints::load(values[p] + c));
      }
      const Floats mean = Floats::of(sums[0] + sums[1] + (sums[2] + sums[3])) / Floats::all(total);
      if (c + kLanes <= size) {
        (mean * Floats::load(step + c)).store(out + c);
        continue;
      }
      float steps[kLanes] = {};
      std::copy(step + c, step + size, steps);
      (mean * Floats::load(steps)).store(steps);
      std::copy_n(steps, size - c, out + c);
    }
  }

  /// Up to whole vectors.
  static constexpr std::size_t padded(std::size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }
};
