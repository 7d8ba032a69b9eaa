// Convolutions of 3 x 3 taps by Winograd's F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3): the same sums, from
// 16 products for 4 outputs or 36 for 16, which take 9 for each by their definition.
//
// With activations d of a tile, taps g and the matrices B, G and A of such an algorithm, its
// outputs are A^T (G g G^T * B^T d B) A, `*` being element by element. Rows of G times 2, or times
// 4, 6, 6, 24, 24 and 1, have integers only, and so has everything here; outputs are divided in the
// end.
//
// - Elements of B^T d B, sums of activations or of their negatives, fit int16. Of F(2 x 2, 3 x 3)
//   they are at most four times as large as activations, which have 14 bits and become signed by
//   the subtraction of a centre, 8192. Of F(4 x 4, 3 x 3) they are at most 100 times as large:
//   halves of 7 bits fit, and both together where they use 9 of their bits only, less a centre of
//   256. What the centre takes from the sums, itself times the weights' sum, is added in the end.
// - Elements of the transformed weights are at most 9 * 128 and 49 * 128: int16.
// - Sums of products are kept modulo 2^32 and may wrap, which is exact, as nothing but sums,
//   differences and products follow up to the division, whose divisor is 4 or 9 * 64 at most. 9 has
//   an inverse modulo 2^32. A power of two leaves the quotient known modulo 2^30 or 2^26, and
//   exactly where its magnitude is below 2^29 or 2^25. Where the weights could lead beyond it the
//   input channels are split into runs for which they cannot; each run's sums are divided by
//   themselves, and the runs are added.
//
// The nine bits of F(4 x 4, 3 x 3) are a property of the map at hand: it is looked at before, for
// kSegment channels at a time, and segments that use more are read half by half. Where those are
// many F(2 x 2, 3 x 3) is the faster one.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/isa.hpp"
#include "cpu/lines.hpp"
#include "integer/conv.hpp"

namespace lic_fast::integer {

/// How a problem is computed: by its definition, or with tiles of 2 x 2 or 4 x 4 outputs.
enum class Form { kDirect, kTwo, kFour };

/// Channels of a segment, and taps of weights.
inline constexpr std::size_t kSegment = 32, kWinogradTaps = 9;
/// What makes activations signed: all of 14 bits, and those that use 9 of them.
inline constexpr std::int32_t kCentre = 8192, kNarrowCentre = 256;
/// Blocks of output channels that are computed together at most.
inline constexpr std::size_t kUnit = 4;

/// Outputs of a tile on each side, and the elements of a transformed one.
constexpr std::size_t outputs_of(Form form) { return form == Form::kFour ? 4 : 2; }
constexpr std::size_t positions_of(Form form) {
  return (outputs_of(form) + 2) * (outputs_of(form) + 2);
}

/// Weights in the orders in which the kernels read them, and what runs depend on.
///
/// For tiles of 2 x 2 they are transformed. Those of 4 x 4 would be 8 times the memory of the
/// weights, more than comes from it while the tiles of a picture are multiplied: they are
/// transformed anew in each call, by the thread that multiplies with them.
class WinogradWeights {
 public:
  /// Of weights of 3 x 3 taps.
  WinogradWeights(const Weights& weights, Form form, unsigned threads);

  /// (groups, positions, blocks, pairs of input channels, kBlock, kPair), for tiles of 2 x 2.
  const std::int16_t* transformed(std::size_t group, std::size_t position,
                                  std::size_t block) const {
    return transformed_.data() + ((group * positions_ + position) * blocks_ + block) * block_size();
  }
  /// (groups, blocks, pairs, taps, kBlock, kPair), for those of 4 x 4.
  const std::int8_t* taps(std::size_t group, std::size_t block, std::size_t pair) const {
    return taps_.data() +
           ((group * blocks_ + block) * pairs_ + pair) * kWinogradTaps * kBlock * kPair;
  }
  /// From a transformed block to the next one.
  std::size_t block_size() const { return pairs_ * kBlock * kPair; }
  std::size_t position_size() const { return blocks_ * block_size(); }
  std::size_t pairs() const { return pairs_; }
  std::size_t segments() const { return segments_; }
  /// The sums of a segment's weights, and of their magnitudes, of all output channels of a group:
  /// (blocks, kBlock).
  const std::int32_t* sums(std::size_t group, std::size_t segment) const {
    return sums_.data() + (group * segments_ + segment) * blocks_ * kBlock;
  }
  const std::int32_t* magnitudes(std::size_t group, std::size_t segment) const {
    return magnitudes_.data() + (group * segments_ + segment) * blocks_ * kBlock;
  }

 private:
  void measure(const std::int8_t* weights, std::size_t group, std::size_t block);
  void pack_transformed(const std::int8_t* weights, std::int16_t* to) const;
  void pack_taps(const std::int8_t* weights, std::int8_t* to) const;

  std::size_t positions_, blocks_, pairs_, segments_;  // of a group
  std::vector<std::int32_t> sums_, magnitudes_;
  cpu::Lines<std::int16_t> transformed_;
  cpu::Lines<std::int8_t> taps_;
};

/// What is read of a segment's activations: all of one half, both halves as one number, or one half
/// of two.
enum class Part { kOnly, kWhole, kHigh, kLow };

/// How a group of channels is computed.
struct Plan {
  /// Segments in the order in which tiles are transformed.
  struct Piece {
    std::size_t segment;
    Part part;
  };
  /// Pieces that are summed and divided together: segments side by side, of one part.
  struct Run {
    std::size_t first, count;  // pairs of input channels
    std::size_t piece;         // the first
    Part part;
  };
  std::vector<Piece> pieces;
  std::vector<Run> runs;
  std::vector<std::int32_t> offsets;  // what the sums begin with: (blocks, kBlock)
};

/// Some tiles, numbered through rows and images, for some units of kUnit blocks of output channels,
/// numbered through groups, and a thread's memory for them, which begins at cache lines.
struct WinogradTask {
  const Problem& problem;
  const WinogradWeights& weights;
  const std::vector<Plan>& plans;  // of each group
  std::size_t first, count;
  std::size_t first_unit, units;
  std::int16_t* inputs;        // transformed, of a group: (positions, count, pieces, kSegment)
  std::size_t input_position;  // elements from a position to the next
  std::size_t input_tile;      // from a tile to the next
  std::int32_t* products;      // (kUnit, positions, count, kBlock), blocks together or one by one
  std::size_t product_block;   // elements from a block's position to the next, padding included
  std::int32_t* sums;          // (kUnit, outputs, count, outputs, kBlock), in the same way
  std::int16_t* own_weights;   // transformed here: (positions, kUnit, pairs, kBlock, kPair)
  std::size_t own_position;    // elements from a position to the next
};

/// Elements of a cache line, which pads the products of a position.
inline constexpr std::size_t kLine32 = 64 / sizeof(std::int32_t);

/// How `convolve` computes a problem: in the fastest way. Bits do not depend on it.
struct Choice {
  Form form;
  /// Of each group's segments, whether its activations use more than 9 of 14 bits.
  std::vector<std::uint8_t> wide;
};
Choice choose(const Problem& problem, cpu::Isa isa, unsigned threads);

/// What `convolve` does, for forms but the direct one.
void convolve_by_winograd(const Problem& problem, const Choice& choice, cpu::Isa isa,
                          unsigned threads);

}  // namespace lic_fast::integer
