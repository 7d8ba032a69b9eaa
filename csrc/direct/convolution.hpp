// Convolutions of maps of float32 or bfloat16 with sums in float32, of any kernel, stride and
// number of channels: those that Winograd and tiles of AMX do not take.
//
// In a map with channels last the numbers that a row of taps reads of a pixel lie side by side: a
// run. A convolution is a product of matrices then, pixels by the numbers of all runs by outputs,
// whose left one is never written: a pixel's row is a pointer to its first tap. Only the numbers of
// a block of pixels that reaches beyond the picture, or is of bfloat16, are copied, with zeros for
// what is missing.
//
// The definition is torch's conv2d.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/activation.hpp"
#include "cpu/isa.hpp"
#include "cpu/lines.hpp"
#include "cpu/map.hpp"
#include "cpu/panels.hpp"

namespace lic_fast::direct {

using cpu::Activation;
using cpu::kPanel;
using cpu::Map;

/// The largest kernel, stride and shuffle.
inline constexpr std::size_t kMostTaps = 16;

/// Outputs for which it is faster to have vectors of pixels, at stride 1, from kLeastOfFew inputs
/// on.
inline constexpr std::size_t kMostFew = 4, kLeastOfFew = 8;

/// Weights in the order in which the kernels read them, (panels, kernel, kernel, inputs, kPanel),
/// zero in the padding, and those of kMostFew outputs at most as (kernel, inputs, kernel, outputs),
/// too.
class Weights {
 public:
  /// `weights` is (outputs, inputs, kernel, kernel), `bias` (outputs,), or null for zeros.
  Weights(const float* weights, const float* bias, std::size_t outputs, std::size_t inputs,
          std::size_t kernel);

  std::size_t outputs, inputs, kernel;
  std::size_t panels() const { return (outputs + kPanel - 1) / kPanel; }
  /// Numbers of a run.
  std::size_t run() const { return kernel * inputs; }
  /// Products of an output.
  std::size_t depth() const { return kernel * run(); }
  const float* panel(std::size_t index) const { return packed_.data() + index * depth() * kPanel; }
  const float* few() const { return few_.data(); }
  const float* bias(std::size_t panel) const { return bias_.data() + panel * kPanel; }

 private:
  cpu::Lines<float> packed_, few_, bias_;
};

/// The arrays are the caller's. Of x only rows that the result's need are read.
struct Problem {
  const Weights& weights;
  bool bfloat16;                     // whether the numbers are std::uint16_t, or else float
  std::size_t batch, height, width;  // of the input
  std::size_t stride, padding;       // rows and columns of zeros around the input
  std::size_t shuffle;               // pixels along a side that one of the result becomes: its
                                     // channels are those of the shuffle x shuffle pixels one
                                     // after another
  std::size_t rows_begin, rows_end;  // of the result, before the shuffle
  Map<const void> x;
  Map<const void> residual;  // like out, added before the activation; without data: none
  Map<void> out;
  Activation activation;

  /// Whether vectors are of pixels.
  bool few() const {
    return stride == 1 && weights.outputs <= kMostFew && weights.inputs >= kLeastOfFew;
  }
  std::size_t rows() const { return (height + 2 * padding - weights.kernel) / stride + 1; }
  std::size_t columns() const { return (width + 2 * padding - weights.kernel) / stride + 1; }
};

/// Computes rows of `out`. The kernel is no larger than the input with its zeros.
void compute(const Problem& problem, cpu::Isa isa, unsigned threads);

/// Pixels of a block at most.
inline constexpr std::size_t kMostPixels = 192;

/// What one task computes: some panels of the outputs of a block of pixels.
struct Part {
  const Problem& problem;
  std::size_t image, row, rows, column, columns;
  std::size_t panel, panels;
};

using Kernel = void (*)(const Part& part);

void scalar_kernel(const Part& part);
void scalar_few_kernel(const Part& part);
#ifdef LIC_FAST_X86
void avx2_kernel(const Part& part);
void avx2_few_kernel(const Part& part);
void avx512_kernel(const Part& part);
void avx512_few_kernel(const Part& part);
#endif

}  // namespace lic_fast::direct
