// Convolution of small integers, exact on every instruction set.
//
// Activations are unsigned with 7 bits, weights signed with 8. The product of two neighbours sums
// to at most 2 * 127 * 128 < 2^15, so that the saturating multiplication of AVX2 never saturates;
// sums are int32, which the caller guarantees to suffice, and integers sum to the same in every
// order.
//
// Activations of 14 bits are two maps of 7, the high halves and the low ones: the sums of the high
// ones are shifted by 7 bits before those of the low ones are added.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/isa.hpp"

namespace lic_fast::integer {

/// Output channels that are computed together: the longest vector of int32.
inline constexpr std::size_t kBlock = 16;
/// Input channels whose products an instruction sums.
inline constexpr std::size_t kQuad = 4;

/// Weights in the order in which the kernels read them: (groups, blocks of kBlock output channels,
/// kernel rows, kernel columns, quads of input channels, kBlock, kQuad), zero in the padding.
class Weights {
 public:
  /// `weights` is (out_channels, in_channels / groups, kernel, kernel).
  Weights(const std::int8_t* weights, std::size_t out_channels, std::size_t in_channels,
          std::size_t groups, std::size_t kernel);

  std::size_t in_channels, out_channels, groups, kernel;
  std::size_t group_in, group_out;  // channels of a group
  std::size_t quads, blocks;        // of a group
  const std::int8_t* block(std::size_t group, std::size_t index) const {
    return packed_.data() + (group * blocks + index) * block_size();
  }
  std::size_t block_size() const { return kernel * kernel * quads * kBlock * kQuad; }

 private:
  std::vector<std::int8_t> packed_;
};

/// What the convolution's arguments say. The arrays are the caller's.
struct Problem {
  const Weights& weights;
  std::size_t batch, height, width;  // of the input
  std::size_t stride;
  std::size_t halves;        // 1, or 2 for activations of 14 bits
  const std::uint8_t* x[2];  // (batch, height, width, in_channels), high half first
  const std::uint8_t* border[2];  // (in_channels,) of each half: what lies beyond the edge
  std::int32_t* out;         // (batch, out_height, out_width, out_channels)

  std::size_t out_height() const { return (height + stride - 1) / stride; }
  std::size_t out_width() const { return (width + stride - 1) / stride; }
};

/// Computes `out`; the border is kernel / 2 wide on every side.
void convolve(const Problem& problem, cpu::Isa isa, unsigned threads);

/// Rows of the output that one task computes, with the padded input of theirs.
struct Rows {
  const Problem& problem;
  std::size_t image, first, count;  // output rows
  std::size_t padded_width;         // columns of the padded input
  std::size_t pixel;                // bytes of a pixel of it: groups * quads * kQuad
  const std::uint8_t* x[2];
};

using RowsKernel = void (*)(const Rows& rows);

RowsKernel scalar_rows();
#ifdef LIC_FAST_X86
RowsKernel avx2_rows();
RowsKernel avx512_rows();
RowsKernel avx512vnni_rows();
#endif

}  // namespace lic_fast::integer
