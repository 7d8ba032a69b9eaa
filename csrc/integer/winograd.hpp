// Convolutions of 3 x 3 taps by Winograd's F(2 x 2, 3 x 3): the same sums, from 16 products for
// each four outputs that take 36 by their definition.
//
// With 4 x 4 activations d, taps g and the matrices B, G and A of that algorithm, four outputs are
//
//   A^T ((2G g (2G)^T) * (B^T d B)) A / 4,
//
// `*` being element by element. 2G has integers only, so that everything is an integer:
//
// - Activations of 14 bits lie in -8192..8191 after 8192 is subtracted. Elements of B^T d B are
//   sums of four of them or of their negatives, and lie in -32768..32767: int16. What the 8192
//   take from the sums, 8192 times the weights' sum, is added in the end. Those of 7 bits stay.
// - Elements of 2G g (2G)^T are at most 9 * 128 in magnitude: int16.
// - Sums of products are kept modulo 2^32 and may wrap, which is exact, as nothing but sums,
//   differences and products follow up to the division by 4: its dividend is known modulo 2^32,
//   the quotient T therefore modulo 2^30, and exactly where its magnitude is below 2^29. Where the
//   weights could lead beyond it the input channels are split into runs for which they cannot; each
//   run's T is divided by itself, and the runs are added.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/isa.hpp"
#include "cpu/lines.hpp"
#include "integer/conv.hpp"

namespace lic_fast::integer {

/// Outputs of a tile on each side, elements of a transformed tile, and channels that an
/// instruction multiplies and sums.
inline constexpr std::size_t kTileSide = 2, kPositions = 16, kPair = 2;
/// What makes activations of 14 bits signed.
inline constexpr std::int32_t kCentre = 8192;
/// Blocks of output channels that are computed together at most.
inline constexpr std::size_t kUnit = 2;

/// 2G g (2G)^T of all weights, in the order in which the kernels read them: (groups, blocks, runs,
/// kPositions, pairs of a run's input channels, kBlock, kPair).
class WinogradWeights {
 public:
  /// Of weights of 3 x 3 taps.
  WinogradWeights(const Weights& weights, unsigned threads);

  /// Consecutive pairs of input channels, whose T is below 2^29 in magnitude.
  struct Run {
    std::size_t first, count;
  };
  const std::vector<Run>& runs(std::size_t group) const { return runs_[group]; }
  const std::int16_t* data(std::size_t group, std::size_t block, const Run& run,
                           std::size_t position) const {
    return packed_.data() + (group * blocks_ + block) * block_size() +
           (kPositions * run.first + position * run.count) * kBlock * kPair;
  }
  /// From a run's position of a block to that of the next block.
  std::size_t block_size() const { return kPositions * pairs_ * kBlock * kPair; }
  /// kCentre times the sum of each output channel's weights, modulo 2^32, of a block's.
  const std::int32_t* offsets(std::size_t group, std::size_t block) const {
    return offsets_.data() + (group * blocks_ + block) * kBlock;
  }

 private:
  /// Of each quad of input channels and each of a block's output channels: the sum of magnitudes.
  void measure(const std::int8_t* weights, std::size_t index, std::uint16_t* magnitudes);
  std::vector<Run> runs_of(const std::uint16_t* magnitudes) const;
  void pack(const std::int8_t* weights, const std::vector<Run>& runs, std::int16_t* to) const;

  std::size_t blocks_, pairs_;  // of a group
  std::vector<std::vector<Run>> runs_;
  std::vector<std::int32_t> offsets_;
  cpu::Lines<std::int16_t> packed_;
};

/// Some tiles, numbered through rows and images, for some units of kUnit blocks of output channels,
/// numbered through groups, and a thread's memory for them, which begins at cache lines.
struct WinogradTask {
  const Problem& problem;
  const WinogradWeights& weights;
  std::size_t first, count;
  std::size_t first_unit, units;
  std::int16_t* inputs;        // transformed, of a group: (kPositions, count, channels)
  std::size_t input_position;  // elements from a position to the next
  std::size_t input_tile;      // from a tile to the next
  std::int32_t* products;      // (kPositions, count, kUnit, kBlock)
  std::size_t product_position;
  std::int32_t* sums;  // (kTileSide, count, kTileSide, kUnit, kBlock)
};

/// Whether `convolve` computes the problem here: where it is faster. Bits do not depend on it.
bool by_winograd(const Problem& problem, cpu::Isa isa);

/// What `convolve` does, for those.
void convolve_by_winograd(const Problem& problem, cpu::Isa isa, unsigned threads);

}  // namespace lic_fast::integer
