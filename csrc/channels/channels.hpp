// What stands between the matrix products of a transform: norms, sums and gates of maps of float32
// or bfloat16, as rows of channels. Arithmetic is float32 for both.
//
// The definitions are those of the nodes in lic_fast/engine/by_operators.py.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/activation.hpp"
#include "cpu/isa.hpp"

namespace lic_fast::channels {

using cpu::Activation;

enum class Operation {
  kLayerNorm,  // (x - mean(x)) / sqrt(variance(x) + number) * weight + bias, of each row
  kSquare,     // x x
  kSum,        // x + number y
  kGate,       // x sigmoid(y) + z
  kRelu,       // max(x, 0)
  kLeakyRelu,  // x, or number x where it is negative
  kGelu,       // x Phi(x), Phi the normal distribution's
  kSigmoid,    // 1 / (1 + exp(-x))
  kTanh,
  kExp,
  kRoot,      // sqrt(x)
  kAbsolute,  // |x|
  kTimes,     // number x
  kPlus,      // x + number
  kMultiply,  // x y
  kDivide,    // x / y
  kSubtract,  // x - y
  kMaximum,   // no number where either is none
  kMinimum,   // so, too
};

/// Rows of `channels` numbers, each `stride` numbers behind the last.
struct Rows {
  const void* data;
  std::size_t stride;
};

/// The arrays are the caller's. `out` may be one of the operands itself.
struct Problem {
  Operation operation;
  bool bfloat16;  // whether the numbers are std::uint16_t, or else float
  std::size_t rows, channels;
  Rows x, y, z;  // those that the operation has
  void* out;
  std::size_t out_stride;
  const float* weight;  // (channels,), of the norm
  const float* bias;
  float number;
};

/// Computes `out`.
void compute(const Problem& problem, cpu::Isa isa, unsigned threads);

/// Computes rows first to last - 1.
using Kernel = void (*)(const Problem& problem, std::size_t first, std::size_t last);

Kernel scalar_kernel();
#ifdef LIC_FAST_X86
Kernel avx2_kernel();
Kernel avx512_kernel();
#endif

}  // namespace lic_fast::channels
