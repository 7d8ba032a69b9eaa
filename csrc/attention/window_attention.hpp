// Shifted-window multi-head self-attention of float32 or bfloat16 feature maps, without any window
// tensor, and its gradients. Arithmetic is float32 for both; with tiles of AMX the products of
// bfloat16 are exact, their sums float32, and the exponentials bfloat16, see amx.cpp.
//
// lic_fast/ops/window_attention.py has the definition. Here shift, partition, padding and their
// inverses are addresses: a window's tokens are read where they lie in (B, H, W, 3C), and its
// results are written where they belong in (B, H, W, C).

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/isa.hpp"
#include "cpu/lines.hpp"

namespace lic_fast::attention {

/// What the operator's arguments say. The arrays are the caller's.
struct Problem {
  std::size_t batch, height, width;  // of the feature map, in tokens
  std::size_t heads, head_size;
  std::size_t window, shift;  // tokens
  float scale;                // of the products of queries and keys
  float mask_value;           // added where only the shift made neighbours
  bool bfloat16;              // whether qkv and out are std::uint16_t, or else float
  const void* qkv;            // (batch, height, width, 3, heads, head_size)
  const float* pad_value;     // (3, heads, head_size): what fills up to whole windows; may be null
  const float* bias_table;    // ((2 window - 1)^2, heads)
  void* out;                  // (batch, height, width, heads, head_size)
};

/// The largest window that is taken.
inline constexpr std::size_t kMaxWindow = 16;

/// Computes `out`.
void window_attention(const Problem& problem, cpu::Isa isa, unsigned threads);

/// The gradient of a problem's result, and those of its operands. The arrays are the caller's.
struct Gradients {
  const void* grad;   // (batch, height, width, heads, head_size), of qkv's type
  void* qkv;          // (batch, height, width, 3, heads, head_size), of qkv's type
  float* bias_table;  // ((2 window - 1)^2, heads)
  float* pad_value;   // (3, heads, head_size); null if it is not wanted
};

/// Computes the gradients of the operands; the problem's `out` is not used. They do not depend on
/// the number of threads.
void window_attention_backward(const Problem& problem, const Gradients& gradients, cpu::Isa isa,
                               unsigned threads);

/// Of a problem: what all its windows share. Made once for each call. Logits are in units of ln 2.
struct Shared {
  const Problem& problem;
  std::size_t tokens;         // of a window
  std::size_t padded_tokens;  // to a multiple of kPad
  float scale, mask;          // the problem's, in units of ln 2
  cpu::Lines<float> bias;     // (heads, keys, padded queries), zero in the padding; see amx_band
  std::vector<float> no_pad;  // zeros, where there is no pad_value
  const float* padding;       // pad_value, or no_pad

  static constexpr std::size_t kPad = 16;  // the longest vector
};

/// Computes one row of windows of one image.
using BandKernel = void (*)(const Shared& shared, std::size_t image, std::size_t band);

/// Of gradients: what one row of windows writes. The sums are its own, so that they can be added
/// up in one order.
struct BandGradients {
  const void* grad;  // Gradients'
  void* qkv;         // Gradients'
  float* table;      // ((2 window - 1)^2, heads), zero before
  float* pad;        // (3, heads, head_size), zero before; null if it is not wanted
};

/// Computes the gradients of one row of windows of one image.
using BackwardKernel = void (*)(const Shared& shared, const BandGradients& gradients,
                                std::size_t image, std::size_t band);

BandKernel scalar_band();
BackwardKernel scalar_backward();
#ifdef LIC_FAST_X86
BandKernel avx2_band();
BackwardKernel avx2_backward();
BandKernel avx512_band();
BackwardKernel avx512_backward();
#endif
#ifdef LIC_FAST_TILES
/// Null where it is not for such a problem. It takes the bias as (heads, queries, padded keys).
BandKernel amx_band(const Problem& problem);
#endif

}  // namespace lic_fast::attention
