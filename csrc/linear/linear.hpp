// Linear maps of rows of channels, float32 or bfloat16, with what stands before and behind them:
//
//   act(norm(x) W^T + b + residual);
//   act(norm(x) W^T + b) V^T + c + residual, a transformer's feed-forward half, whose hidden rows
//   stay in a cache;
//   x / sqrt(x^2 W^T + b), generalised divisive normalisation, or its inverse, x times the root.
//
// The definitions are torch's linear, lic_fast/ops/feed_forward.py and gdn.py, the choice is
// program/linear_nodes.cpp.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/activation.hpp"
#include "cpu/isa.hpp"
#include "cpu/lines.hpp"
#include "cpu/panels.hpp"
#include "cpu/words.hpp"

// Microsoft's compiler has other names for what these take.
#if defined(LIC_FAST_X86) && !(defined(_MSC_VER) && !defined(__clang__))
#define LIC_FAST_PAIRS 1
#endif

namespace lic_fast::linear {

using cpu::Activation;
using cpu::kPanel;

/// What becomes of a row before it is multiplied.
enum class Before { kNothing, kNorm, kSquare };
/// What becomes of the sums: residual and activation, or x times or over their root.
enum class After { kActivation, kTimesRoot, kOverRoot };

/// How a map's products are computed.
enum class Products {
  kFloats,  // of float32
  kPairs,   // of bfloat16, two at once, with sums of float32; for maps of bfloat16
  kWords,   // of 16 bits, two at once, with sums of 32: up to twice as fast; for such maps too
  kTiles,   // of bfloat16 by AMX, with sums of float32: many times as fast; for such maps too
};

/// Inputs that a tile of AMX holds of a row.
inline constexpr std::size_t kTileDepth = 32;

/// Weights in the order in which the kernels read them, zero in the padding: (panels, inputs,
/// kPanel) of floats, or (panels, pairs of inputs, kPanel, 2) of bfloat16 or words. Sixteen pairs
/// of a panel are a tile, and so what tiles multiply is whole tiles.
///
/// Words are weights over a scale of their own for each output. Inputs, too, become words over a
/// scale for each row, within a limit for which no sum of cpu::kSummed products overflows, whatever
/// they are.
class Weights {
 public:
  /// `weights` is (outputs, inputs), `bias` (outputs,).
  Weights(const float* weights, const float* bias, std::size_t outputs, std::size_t inputs,
          Products products);

  std::size_t outputs, inputs;
  Products products;
  std::size_t panels() const { return (outputs + kPanel - 1) / kPanel; }
  /// Numbers of a row that are multiplied, zero behind those of the input.
  std::size_t depth() const {
    const std::size_t whole = products == Products::kTiles ? kTileDepth : step();
    return (inputs + whole - 1) / whole * whole;
  }
  /// Numbers of a panel.
  std::size_t panel_size() const { return depth() * kPanel; }
  const float* floats() const { return floats_.data(); }
  /// Of tiles, too.
  const std::uint16_t* pairs() const { return pairs_.data(); }
  const std::int16_t* words() const { return words_.data(); }
  /// Of words, (panels, kPanel).
  const float* scales() const { return scales_.data(); }
  /// The largest word of an input.
  float limit() const { return limit_; }
  /// Zero behind those of the outputs, for whole panels.
  const float* bias() const { return bias_.data(); }

 private:
  std::size_t step() const { return products == Products::kFloats ? 1 : 2; }

  cpu::Lines<float> floats_, bias_, scales_;
  cpu::Lines<std::uint16_t> pairs_;
  cpu::Lines<std::int16_t> words_;
  float limit_ = 0;
};

/// Rows, each `stride` numbers behind the last.
template <class Data>
struct Rows {
  Data* data;
  std::size_t stride;
};

/// The arrays are the caller's. `out` may be the residual itself; it may be x only of kSquare.
struct Problem {
  const Weights& first;
  const Weights* second;  // null: there is one map
  bool bfloat16;          // whether the rows are of std::uint16_t, or else of float
  std::size_t rows;
  Rows<const void> x, residual;  // residual without data: none
  Rows<void> out;
  Before before;
  After after;                           // of a single map
  Activation activation;                 // of the first map, where it is to have one
  const float *norm_weight, *norm_bias;  // (inputs,), of the norm
  float epsilon;
};

/// Computes `out`.
void compute(const Problem& problem, cpu::Isa isa, unsigned threads);

/// Whether this CPU multiplies pairs of bfloat16.
bool has_pairs();
/// Whether it does at twice the rate of floats: AMD's do, Intel's only in tiles.
bool fast_pairs();

/// Rows that are in work together.
inline constexpr std::size_t kBlock = 48;
/// Of tiles at most, which one call may compute several times as many of.
inline constexpr std::size_t kTilesBlock = 64;

/// Computes rows first to last - 1, at most kBlock where they are not tiles'.
using Kernel = void (*)(const Problem& problem, std::size_t first, std::size_t last);

void scalar_kernel(const Problem& problem, std::size_t first, std::size_t last);
#ifdef LIC_FAST_X86
void avx2_kernel(const Problem& problem, std::size_t first, std::size_t last);
void avx2_words_kernel(const Problem& problem, std::size_t first, std::size_t last);
void avx512_kernel(const Problem& problem, std::size_t first, std::size_t last);
void avx512vnni_words_kernel(const Problem& problem, std::size_t first, std::size_t last);
#endif
#ifdef LIC_FAST_PAIRS
void avx512_pairs_kernel(const Problem& problem, std::size_t first, std::size_t last);
#endif
#ifdef LIC_FAST_TILES
void amx_tiles_kernel(const Problem& problem, std::size_t first, std::size_t last);
#endif

}  // namespace lic_fast::linear
