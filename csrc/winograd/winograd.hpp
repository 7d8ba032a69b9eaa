// Convolutions of maps of float32 or bfloat16 by minimal filtering, for the transforms: Winograd,
// "Arithmetic Complexity of Computations", 1980, as Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks", CVPR 2016, section 4, apply it to convolutions of two dimensions.
//
// Six by six numbers of the input give four by four of a 3x3 convolution with 36 multiplications
// instead of 144, or two by two of a 5x5 one with 36 instead of 100. Between the transforms of
// input and output there are 36 products of matrices, tiles by channels by channels. Points of the
// interpolation are 0, kA, -kA, kB, -kB and infinity; arithmetic is float32 for both types, but for
// products of 16-bit integers for bfloat16 where the processor has them.
//
// The definition is torch's conv2d, the choice program/convolution.cpp.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/activation.hpp"
#include "cpu/isa.hpp"
#include "cpu/lines.hpp"
#include "cpu/map.hpp"
#include "cpu/panels.hpp"
#include "cpu/words.hpp"

namespace lic_fast::winograd {

/// Side of a tile of the input, and numbers in it.
inline constexpr std::size_t kSide = 6, kPlaces = kSide * kSide;
/// Points whose powers float32 holds, chosen for the least error: less than half of that with 1 and
/// 2, where sums cancel more; see Barabasz et al., "Error Analysis and Improving the Accuracy of
/// Winograd Convolution for Deep Neural Networks", ACM TOMS 46(4), 2020.
inline constexpr float kA = 5.0f / 8, kB = 3.0f / 2;
using cpu::Activation;
using cpu::kPanel;
using cpu::Map;

/// How a place's products are computed.
enum class Products {
  kFloats,  // of float32
  kWords,   // of 16 bits, two at once, with sums of 32: up to twice as fast, less exact
};

/// Weights in the order in which the kernels read them, zero in the padding: transformed, as
/// (panels, kPlaces, in_channels, kPanel), or as they are, (panels, in_channels, kernel, kernel,
/// kPanel), to be transformed whenever they are used. That takes as many operations as a few tiles,
/// and a quarter of the memory: it is for large weights of small maps. Places of transformed
/// weights are place_size apart.
///
/// Words are weights over a scale of their own for each place and output, (panels, kPlaces, pairs
/// of inputs, kPanel, 2). Inputs, too, become words over a scale for each place and tile, within
/// limits for which no sum of cpu::kSummed products overflows, whatever they are.
class Weights {
 public:
  /// `weights` is (out_channels, in_channels, kernel, kernel), kernel 3 or 5.
  Weights(const float* weights, std::size_t out_channels, std::size_t in_channels,
          std::size_t kernel, bool transformed, Products products, unsigned threads);

  std::size_t out_channels, in_channels, kernel;
  bool transformed;
  Products products;  // kWords only of transformed weights
  std::size_t panels() const { return (out_channels + kPanel - 1) / kPanel; }
  /// Of a panel that is transformed.
  std::size_t panel_size() const { return kPlaces * place_size(); }
  /// From one of its places to the next: a line more than are needed, see place_size below.
  std::size_t place_size() const { return (in_channels + 1) * kPanel; }
  const float* panel(std::size_t index) const {
    return packed_.data() +
           index * (transformed ? panel_size() : in_channels * kernel * kernel * kPanel);
  }
  const std::int16_t* words(std::size_t index) const {
    return words_.data() + index * panel_size();
  }
  /// Of a panel's words, (kPlaces, kPanel).
  const float* scales(std::size_t index) const { return scales_.data() + index * kPlaces * kPanel; }
  /// Of each place: the largest word of an input.
  const float* limits() const { return limits_; }
  /// Side of a tile of the output.
  std::size_t step() const { return kSide + 1 - kernel; }

 private:
  void make_words(unsigned threads);

  cpu::Lines<float> packed_, scales_;
  cpu::Lines<std::int16_t> words_;
  float limits_[kPlaces] = {};
};

/// The row of G, the transform of weights, that belongs to a place.
double filter(std::size_t place, std::size_t tap, std::size_t kernel);

/// The arrays are the caller's.
struct Problem {
  const Weights& weights;
  const float* bias;  // (out_channels,)
  bool bfloat16;      // whether the numbers are std::uint16_t, or else float
  // Of the convolution's own input and output. What is given has `phases` times as many rows and
  // columns, whose channels are those of the phases x phases pixels one after another, in whole
  // panels, and what is written `shuffle` times as many in the same way, in any.
  std::size_t batch, height, width, phases, shuffle;
  Map<const void> x;
  Map<const void> residual;  // like out; without data: none
  Map<void> out;
  Activation activation;
  // Rows of the convolution's own output that are computed, of `height`: from a multiple of
  // weights.step() to another one or to the height. Of the maps only the rows that belong to them
  // are touched, of x within kernel / 2 rows of theirs; a map's `data` is where its row 0 would be.
  std::size_t rows_begin, rows_end;

  /// Rows and columns of tiles of these rows of an image.
  std::size_t tiles_down() const {
    return (rows_end - rows_begin + weights.step() - 1) / weights.step();
  }
  std::size_t tiles_across() const { return (width + weights.step() - 1) / weights.step(); }
};

/// Computes those rows of `out`, to the same bits whichever they are. The channels of a pixel of
/// the input are multiples of kPanel. Throws std::invalid_argument for other rows than those.
void compute(const Problem& problem, cpu::Isa isa, unsigned threads);

/// Panels whose products are computed together.
using cpu::kMostPanels;

/// Floats from one place to the next: a line more than are needed, so that the places of a tile,
/// which are read and written together, do not fall into the same set of a cache.
inline constexpr std::size_t place_size(std::size_t tiles, std::size_t channels) {
  return tiles * channels + kPanel;
}

/// A run of the rows' tiles, by image, row and column, and their transformed input: (kPlaces,
/// count, in_channels), places by place_size apart.
struct Block {
  std::size_t first, count;
  float* inputs;
};

/// Some panels of the output, at most kMostPanels.
struct Panels {
  std::size_t first, count;
};

struct Kernels {
  /// Panels whose products are best computed together, at most kMostPanels.
  std::size_t together;
  /// Transforms the input of tiles first to last - 1 of the block.
  void (*read)(const Problem& problem, const Block& block, std::size_t first, std::size_t last);
  /// Transforms weights, to (panels.count, kPlaces, in_channels, kPanel) as Weights has them.
  void (*filter)(const Weights& weights, const Panels& panels, float* out);
  /// Multiplies the block's inputs by transformed weights of these panels, to `products`: (kPlaces,
  /// block.count, panels.count * kPanel), places by place_size apart.
  void (*multiply)(const Problem& problem, const Block& block, const Panels& panels,
                   const float* weights, float* products);
  /// Computes the block's output in these panels of its products.
  void (*finish)(const Problem& problem, const Block& block, const Panels& panels,
                 const float* products);
};

/// A run of tiles and their transformed input as words, (kPlaces, count, in_channels), places by
/// word_place_size apart, over scales, (kPlaces, count).
struct WordBlock {
  std::size_t first, count;
  std::int16_t* inputs;
  float* scales;
};
/// Words from one place to the next.
inline constexpr std::size_t word_place_size(std::size_t tiles, std::size_t channels) {
  return tiles * channels + 2 * kPanel;
}

struct WordKernels {
  /// The transformed input of a tile of the block, (kPlaces, in_channels) of floats by place_size
  /// apart, as words.
  void (*read)(const Weights& weights, const WordBlock& block, std::size_t tile,
               const float* numbers);
  /// As Kernels::multiply.
  void (*multiply)(const Weights& weights, const WordBlock& block, const Panels& panels,
                   float* products);
};

extern const Kernels kScalarKernels;
#ifdef LIC_FAST_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const WordKernels kAvx2WordKernels;
extern const WordKernels kAvx512VnniWordKernels;
#endif

}  // namespace lic_fast::winograd
