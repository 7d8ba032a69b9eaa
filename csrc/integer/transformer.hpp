// What a transformer of a portable network needs beyond its linear maps; see
// lic_fast/ops/exact_layer_norm.py, exact_window_attention.py and exact_sigmoid.py.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"
#include "integer/view.hpp"

namespace lic_fast::integer {

class Quantizer;

/// Magnitude of the integers of a norm, and channels for which its sums are exact.
inline constexpr float kLargestNormed = 32767.0f;
inline constexpr std::size_t kMostNormed = 2048;
/// Magnitude of queries, keys and values; tokens of a window and channels of a head, at most.
inline constexpr float kLargestAttended = 1023.0f;
inline constexpr std::size_t kMostTokens = 64, kMostChannels = 64;

struct Norm {
  const float* weight;
  const float* bias;
  float inverse_step, epsilon;
};

/// One head of one window. `words` are the integers of qkv, (tokens, 3 * channels).
struct Head {
  const std::int16_t* words;
  std::size_t tokens, channels, size, first;  // first: the head's first channel
  const float* bias;                          // (tokens, tokens)
  const std::uint8_t* region;                 // of each token, 0..3: equal ones see each other
  float scale;
  const float* value_step;  // of the head's channels
  float* const* out;        // of each token, all channels
};

/// A map (batch, height, width, 3 * channels) in whole windows, to one of `channels`: to float32,
/// or with a quantizer to the halves of activations.
struct Attention {
  std::size_t batch, height, width, channels, heads, window, shift;
  View<const float> qkv;
  const float* inverse_step;
  const float* scale;
  const float* bias;  // (heads, tokens, tokens)
  const float* value_step;
  View<float> out{};
  const Quantizer* quantizer = nullptr;
  View<std::uint8_t> halves[2]{};
};

void layer_norm(const float* x, std::size_t count, std::size_t channels, const Norm& norm,
                float* out, cpu::Isa isa, unsigned threads);
void attend(const Attention& attention, cpu::Isa isa, unsigned threads);
void sigmoid(const float* x, std::size_t count, float* out, cpu::Isa isa, unsigned threads);

}  // namespace lic_fast::integer
