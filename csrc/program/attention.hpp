// Window attention as a node of a program.

#pragma once

#include <cstddef>
#include <memory>

#include "program/node.hpp"

namespace lic_fast::program {

/// The parameters of lic_fast.ops.window_attention. The arrays are the caller's, and stay as they
/// are as long as there is a node.
struct WindowAttention {
  const float* table;      // ((2 window - 1)^2, heads): the relative position bias
  const float* pad_value;  // (3 channels,): what fills up to whole windows; null: zeros
  std::size_t channels;    // of the output: all heads'
  std::size_t heads, window, shift;
  float scale, mask_value;
};

/// A node whose input is a map of 3 * channels, queries, keys and values each as the run of their
/// heads, and whose output has `channels`. Bands end where shifted windows do.
///
/// Throws std::invalid_argument where the channels do not divide into the heads, or the window or
/// the shift is too large.
std::unique_ptr<Node> make_window_attention(const WindowAttention& attention);

}  // namespace lic_fast::program
