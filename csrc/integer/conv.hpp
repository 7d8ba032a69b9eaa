// Convolution of small integers, exact on every instruction set, and the end of a layer on it.
//
// Activations are unsigned with 7 bits, weights signed with 8. The product of two neighbours sums
// to at most 2 * 127 * 128 < 2^15, so that the saturating multiplication of AVX2 never saturates;
// sums are int32, which the caller guarantees to suffice, and integers sum to the same in every
// order.
//
// Tiles of AMX sum in 32 bits; they compute the same, see tiles.inl.
//
// Activations of 14 bits are two maps of 7, the high halves and the low ones: the sums of the high
// ones are shifted by 7 bits before those of the low ones are added. That is the definition; most
// sums of 3 x 3 taps on them come from fewer products of both halves at once, see winograd.hpp.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/isa.hpp"
#include "cpu/lines.hpp"
#include "cpu/once.hpp"
#include "integer/view.hpp"

namespace lic_fast::integer {

/// Output channels that are computed together: the longest vector of int32.
inline constexpr std::size_t kBlock = 16;
/// Input channels whose products an instruction sums.
inline constexpr std::size_t kQuad = 4;
/// Those of 16 bits.
inline constexpr std::size_t kPair = 2;
/// Bits of a half, and its largest value.
inline constexpr int kHalfBits = 7;
inline constexpr std::int32_t kHalfTop = 127;

/// Bytes of weights, of a block of output channels, that a tile of AMX holds: of 64 input channels.
inline constexpr std::size_t kWeightTile = 1024;
/// Bytes behind a map's last pixel that such tiles may read, though they do not count.
inline constexpr std::size_t kBeyond = 64;

class WinogradWeights;
enum class Form;

/// Weights in the order in which the kernels read them: (groups, blocks of kBlock output channels,
/// kernel rows, kernel columns, quads of input channels, kBlock, kQuad), zero in the padding.
class Weights {
 public:
  /// `weights` is (out_channels, in_channels / groups, kernel, kernel).
  Weights(const std::int8_t* weights, std::size_t out_channels, std::size_t in_channels,
          std::size_t groups, std::size_t kernel);
  ~Weights();
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;

  std::size_t in_channels, out_channels, groups, kernel;
  std::size_t group_in, group_out;  // channels of a group
  std::size_t quads, blocks;        // of a group
  const std::int8_t* block(std::size_t group, std::size_t index) const {
    return packed_.data() + (group * blocks + index) * block_size();
  }
  std::size_t block_size() const { return kernel * kernel * quads * kBlock * kQuad; }
  /// Whether a group's channels are whole quads, so that nothing lies between two groups.
  bool dense() const { return group_in % kQuad == 0; }

  /// Those of winograd.hpp, made when they are first asked for and then kept: they take as much
  /// memory as the others or 3.6 times that, and only some layers, on maps that are not tiny, need
  /// them. The others are kept too, for the tiny maps and other instruction sets.
  const WinogradWeights& winograd(Form form, unsigned threads) const;
  /// Has `words` be there: for 1 x 1 taps, twice the memory of the others.
  void make_words() const;
  /// A block's weights as int16, (pairs of input channels, kBlock, kPair).
  const std::int16_t* words(std::size_t group, std::size_t index) const {
    return words_.found()->data() + (group * blocks + index) * block_size();
  }

  /// How taps become tiles of AMX. The channels of a row of taps lie side by side in a map, where
  /// there are no other groups between them.
  struct Runs {
    bool whole_rows;    // whether a run is a row of taps, or else one tap
    std::size_t count;  // of runs
    std::size_t tiles;  // of a run, the last of them filled up with zeros
  };
  Runs runs() const {
    const bool rows = groups == 1;
    return {rows, rows ? kernel : kernel * kernel, (run_size() + kWeightTile - 1) / kWeightTile};
  }
  /// Has `tiles` be there: where they are no other than the weights above they are those.
  void make_tiles() const;
  /// A block's weights, (runs, tiles, kWeightTile).
  const std::int8_t* tiles(std::size_t group, std::size_t index) const {
    const auto* const own = tiles_.found();
    const std::int8_t* const all = own == nullptr ? packed_.data() : own->data();
    return all + (group * blocks + index) * tiles_size();
  }
  std::size_t tiles_size() const { return runs().count * runs().tiles * kWeightTile; }

  /// Outputs on a side of the tiles for which some have been made, and so of those by which a
  /// convolution has been computed.
  std::vector<int> tile_sides() const;

 private:
  /// Bytes of a run, see `runs`.
  std::size_t run_size() const { return (groups == 1 ? kernel : 1) * quads * kBlock * kQuad; }

  cpu::Lines<std::int8_t> packed_;
  mutable cpu::Once<WinogradWeights> two_, four_;
  mutable cpu::Once<cpu::Lines<std::int16_t>> words_;
  mutable cpu::Once<cpu::Lines<std::int8_t>> tiles_;
};

enum class Activation { kNone, kRelu, kLeakyRelu, kGelu };

/// What follows the sums of a layer; see lic_fast/ops/integer_layer.py. Numbers of each output
/// channel are in the order of the kernels, (groups, blocks, kBlock), zero in the padding.
struct End {
  std::vector<std::int32_t> bias;
  std::vector<float> scale;
  Activation activation = Activation::kNone;
  int bits = 0;                           // of the output's activations; 0: float32
  std::vector<float> inverse_step, zero;  // only with bits
  float top() const { return static_cast<float>((1 << bits) - 1); }
  std::size_t halves() const { return static_cast<std::size_t>(bits / kHalfBits); }
};

/// What the convolution's arguments say. The arrays are the caller's.
struct Problem {
  const Weights& weights;
  std::size_t batch, height, width;  // of the input
  std::size_t stride;
  std::size_t halves;             // 1, or 2 for activations of 14 bits
  View<const std::uint8_t> x[2];  // of in_channels, high half first
  const std::uint8_t* border[2];  // (in_channels,) of each half: what lies beyond the edge
  /// Whether x has its border, and can be read beyond its edges. Only with dense weights. Its
  /// activations are known to be in range.
  bool bordered = false;

  // Of out_channels, (batch, out_height, out_width) pixels: the sums if there is no end, else
  // float32, or with bits activations, whose low halves may have no data if nobody reads them, and
  // float32 too if that has data.
  View<std::int32_t> sums{};
  const End* end = nullptr;
  View<const float> residual{};  // without data: none
  View<float> values{};
  View<std::uint8_t> out[2]{};

  std::size_t out_height() const { return (height + stride - 1) / stride; }
  std::size_t out_width() const { return (width + stride - 1) / stride; }
};

/// Computes the output; the border is kernel / 2 wide on every side. Throws std::invalid_argument
/// for activations beyond 7 bits.
void convolve(const Problem& problem, cpu::Isa isa, unsigned threads);

/// The same by the definition: what `convolve` does for problems that winograd.hpp is not for.
void convolve_directly(const Problem& problem, cpu::Isa isa, unsigned threads);

}  // namespace lic_fast::integer
