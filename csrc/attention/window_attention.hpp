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
#include "cpu/map.hpp"

namespace lic_fast::attention {

using cpu::Map;

/// The operator's parameters. The arrays are the caller's.
struct Parameters {
  std::size_t heads, head_size;
  std::size_t window, shift;  // tokens
  float scale;                // of the products of queries and keys
  float mask_value;           // added where only the shift made neighbours
  bool bfloat16;              // whether maps are of std::uint16_t, or else of float
  const float* pad_value;     // (3, heads, head_size): what fills up to whole windows; may be null
  const float* bias_table;    // ((2 window - 1)^2, heads)
};

/// The largest window that is taken.
inline constexpr std::size_t kMaxWindow = 16;

struct Problem;
struct WindowRow;
struct RowGradients;

/// Computes the results of a row of windows.
using ForwardKernel = void (*)(const Problem& problem, const WindowRow& window_row);
/// Computes the gradients of a row of windows.
using BackwardKernel = void (*)(const Problem& problem, const RowGradients& gradients,
                                const WindowRow& window_row);

enum class Pass { kForward, kBackward };

/// What all windows of an operator share, of the layout that an instruction set's kernels read.
/// Made once for an operator; calls may share it. Logits are in units of ln 2.
struct Tables {
  /// The parameters' arrays are not needed afterwards.
  Tables(const Parameters& parameters, cpu::Isa isa, Pass pass);

  std::size_t heads, head_size, window, shift;  // the parameters'
  bool bfloat16;
  std::size_t tokens;         // of a window
  std::size_t padded_tokens;  // to a multiple of kPad
  float factor;               // the parameters' scale
  float scale, mask;          // the parameters', in units of ln 2
  cpu::Lines<float> bias;     // (heads, keys, padded queries), zero in the padding; see amx_forward
  std::vector<float> padding;  // (3, heads, head_size): pad_value, or zeros
  ForwardKernel forward;       // null in those for the backward pass
  BackwardKernel backward;     // null in those for the forward pass

  static constexpr std::size_t kPad = 16;  // the longest vector
};

/// The instruction set of the kernel that computes the results, where the CPU has `isa`.
cpu::Isa forward_isa(const Parameters& parameters, cpu::Isa isa);

/// The arrays are the caller's.
struct Problem {
  const Tables& tables;
  std::size_t batch, height, width;  // of the feature map, in tokens
  Map<const void> qkv;               // of (3, heads, head_size) numbers
  Map<void> out;                     // of (heads, head_size) numbers
  // Rows of the results that are computed: all, or from one boundary() to another one. Only these
  // rows of the maps are touched; a map's `data` is where its row 0 would be.
  //
  // The shift makes one row of windows of the map's last rows and its first `shift` ones. Where not
  // all rows are computed, each of the two parts is computed as if the other one had a mask_value
  // of minus infinity: the same bits as those of all rows for such a mask_value, and for one of
  // -100 wherever no logit is larger by 13 or more than the largest of the query's own part.
  std::size_t rows_begin, rows_end;

  bool whole() const { return rows_begin == 0 && rows_end == height; }
};

/// The least row from `row` on where a range of rows may begin or end: of a row of windows the
/// first, row 0, or the height.
std::size_t boundary(std::size_t row, std::size_t window, std::size_t shift, std::size_t height);

/// Computes those rows of `out`. The tables are for the forward pass. Throws std::invalid_argument
/// for a range that does not begin and end at boundaries.
void window_attention(const Problem& problem, unsigned threads);

/// The gradient of a problem's result, and those of its operands. The arrays are the caller's.
struct Gradients {
  const void* grad;   // (batch, height, width, heads, head_size), of qkv's type
  void* qkv;          // (batch, height, width, 3, heads, head_size), of qkv's type
  float* bias_table;  // ((2 window - 1)^2, heads)
  float* pad_value;   // (3, heads, head_size); null if it is not wanted
};

/// Computes the gradients of the operands, of all rows; the problem's `out` and range of rows are
/// not used. The tables are for the backward pass. Results do not depend on the number of threads.
void window_attention_backward(const Problem& problem, const Gradients& gradients,
                               unsigned threads);

/// A row of windows of an image, or of the one that the shift makes of the map's last and first
/// rows either part.
struct WindowRow {
  std::size_t image, index;
  std::size_t begin, end;  // rows of its windows: tokens of others are neither read nor written
};

/// Of gradients: what one row of windows writes. The sums are its own, so that they can be added
/// up in one order.
struct RowGradients {
  Map<const void> grad;  // Gradients'
  Map<void> qkv;         // Gradients'
  float* table;          // ((2 window - 1)^2, heads), zero before
  float* pad;            // (3, heads, head_size), zero before; null if it is not wanted
};

ForwardKernel scalar_forward();
BackwardKernel scalar_backward();
#ifdef LIC_FAST_X86
ForwardKernel avx2_forward();
BackwardKernel avx2_backward();
ForwardKernel avx512_forward();
BackwardKernel avx512_backward();
#endif
#ifdef LIC_FAST_TILES
/// Null where it is not for such an operator. It takes the bias as (heads, queries, padded keys).
ForwardKernel amx_forward(const Parameters& parameters);
#endif

}  // namespace lic_fast::attention
