// Convolutions of maps of bfloat16 by tiles of AMX, for the transforms.
//
// An instruction multiplies a tile of 16 pixels of a row, of 32 inputs each, by a tile of 32 inputs
// for 16 outputs, and adds to sums in float32. In a map with channels last the inputs of a row of
// taps lie side by side, so that tiles run on over its pixels. The last of a row's tiles ends where
// the row does: it reads some numbers that the one before it has, again, with weights of zero, and
// none of a pixel under no tap, which might be a NaN.
//
// The definition is torch's conv2d, the choice program/convolution.cpp.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/activation.hpp"
#include "cpu/isa.hpp"
#include "cpu/lines.hpp"
#include "cpu/map.hpp"

namespace lic_fast::tiles {

/// Outputs of a tile of weights, and pixels of a tile of the input.
inline constexpr std::size_t kBlock = 16, kPixels = 16;
/// Inputs of both.
inline constexpr std::size_t kInputs = 32;
/// Numbers of a tile of weights.
inline constexpr std::size_t kWeightTile = kBlock * kInputs;
using cpu::Activation;
using cpu::Map;

/// Weights in the order in which the kernel reads them: for two blocks of outputs at a time, or a
/// last one, step by step a tile of each, (pairs of inputs, kBlock, 2), zero in the padding. A run
/// of steps is a row of taps, or all taps where a row has fewer numbers than a tile: then these are
/// put side by side for each pixel, behind as many zeros as fill the tiles. Steps whose weights are
/// all zero are left out: a transposed convolution, as one to several pixels, has many.
class Weights {
 public:
  /// `weights` is (outputs, inputs, kernel, kernel), with an odd kernel, `bias` (outputs,).
  Weights(const float* weights, const float* bias, std::size_t outputs, std::size_t inputs,
          std::size_t kernel);

  std::size_t outputs, inputs, kernel;
  std::size_t row_size() const { return kernel * inputs; }
  bool unfolded() const { return row_size() < kInputs; }
  std::size_t runs() const { return unfolded() ? 1 : kernel; }
  /// Zeros before the taps of a pixel.
  std::size_t zeros() const { return unfolded() ? run_size() - kernel * row_size() : 0; }
  /// Numbers of a run.
  std::size_t run_size() const {
    return unfolded() ? (kernel * row_size() + kInputs - 1) / kInputs * kInputs : row_size();
  }
  std::size_t run_tiles() const { return (run_size() + kInputs - 1) / kInputs; }
  /// Where in its run a tile begins.
  std::size_t tile_begin(std::size_t tile) const {
    return std::min(tile * kInputs, run_size() - kInputs);
  }
  std::size_t blocks() const { return (outputs + kBlock - 1) / kBlock; }
  const float* bias(std::size_t block) const { return bias_.data() + block * kBlock; }

  struct Step {
    std::uint32_t run, begin;  // number of its run from which on it reads
  };
  /// Of two blocks, or the last one.
  struct Steps {
    std::size_t begin, count;    // in all steps
    const std::uint16_t* tiles;  // (count, blocks, kWeightTile)
  };
  Steps steps(std::size_t pair) const {
    const std::size_t begin = begins_[pair];
    return {begin, begins_[pair + 1] - begin, packed_.data() + begin * 2 * kWeightTile};
  }
  /// Numbers in all tiles.
  std::size_t size() const { return packed_.size(); }
  const Step& step(std::size_t index) const { return steps_[index]; }

 private:
  cpu::Lines<std::uint16_t> packed_;
  std::vector<Step> steps_;
  std::vector<std::size_t> begins_;  // of each pair's steps, and their end
  cpu::Lines<float> bias_;
};

/// The arrays are the caller's. Borders are of zeros, kernel / 2 wide.
struct Problem {
  const Weights& weights;
  std::size_t batch, height, width;  // of the input
  std::size_t stride;
  std::size_t shuffle;  // pixels along a side that one of the result becomes: its channels are
                        // those of the shuffle x shuffle pixels one after another
  Map<const std::uint16_t> x;
  Map<const std::uint16_t> residual;  // like out, added before the activation; without data: none
  Map<std::uint16_t> out;
  Activation activation;
  // Of rows(): those that are computed. Of the maps only the rows that belong to them are touched,
  // of x as far as taps reach; a map's `data` is where its row 0 would be.
  std::size_t rows_begin, rows_end;

  std::size_t rows() const { return (height + stride - 1) / stride; }
  std::size_t columns() const { return (width + stride - 1) / stride; }
  /// Tiles of a row of the result.
  std::size_t tiles() const { return (columns() + kPixels - 1) / kPixels; }
  /// Pixels of each tile. All have as many, so that the processor's tiles keep their shape.
  std::size_t tile_size() const { return (columns() + tiles() - 1) / tiles(); }
  /// A tile's first pixel, and the first one that is not also the tile's before it.
  std::size_t tile_begin(std::size_t tile) const {
    return std::min(tile * tile_size(), columns() - tile_size());
  }
  std::size_t tile_fresh(std::size_t tile) const { return tile * tile_size(); }
};

/// What one task computes: some tiles of some rows of the result.
struct Part {
  const Problem& problem;
  std::size_t image, row, rows, tile, tiles;
  /// What the first pixel's first tap reads, and numbers from there to the next pixel of the
  /// result, to its next row, and to the next run of taps.
  const std::uint16_t* x;
  std::size_t next_pixel, next_row, next_run;
};

/// Computes those rows of `out`, to the same bits whichever they are. Throws std::invalid_argument
/// where the CPU has no tiles, and for rows that there are not.
void compute(const Problem& problem, unsigned threads);

void compute_part(const Part& part);

}  // namespace lic_fast::tiles
