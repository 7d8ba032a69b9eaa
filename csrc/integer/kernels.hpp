// What is written once for each instruction set. All compute the same bits.
//
// To add an instruction set: a file like avx2.cpp, a name in cpu/isa.hpp, a line in kernels.cpp.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"
#include "integer/conv.hpp"
#include "integer/transformer.hpp"
#include "integer/winograd.hpp"

namespace lic_fast::integer {

/// Rows of the output that one task computes, with their input and its border.
struct Rows {
  const Problem& problem;
  std::size_t image, first, count;  // output rows
  std::ptrdiff_t row, pixel;        // bytes from one to the next, of the input
  const std::uint8_t* x[2];         // what the first output pixel's first tap reads
};

/// Numbers of consecutive channels, each array with room for whole blocks of kBlock.
struct Quantization {
  const float* inverse_step;
  const float* zero;
  float top;
};

struct Kernels {
  void (*rows)(const Rows& rows);
  bool of_tiles;  // whether that multiplies tiles of AMX, and reads Weights::tiles
  /// The same of 1 x 1 taps and two halves, or null where that is not faster.
  void (*pointwise)(const Rows& rows);
  /// False if an activation is beyond 7 bits. Null where the definition is faster.
  bool (*winograd[2])(const WinogradTask& task);  // with tiles of 2 x 2 and of 4 x 4 outputs
  /// The halves of activations from which on the former is faster than the definition.
  std::size_t winograd_halves;
  /// The most rows of a task, which uses each weight for them all.
  std::size_t task_rows;
  /// Activations of `count` channels of a pixel, to their halves; `high` is null for 7 bits.
  void (*quantize)(const float* x, std::size_t count, const Quantization& quantization,
                   std::uint8_t* high, std::uint8_t* low);
  /// out = quantized + tanh(lrp) / 2.
  void (*add_residual)(const float* quantized, const float* lrp, std::size_t count, float* out);
  /// out = x * gate + residual.
  void (*gated)(const float* x, const float* gate, const float* residual, std::size_t count,
                float* out);
  void (*sigmoid)(const float* x, std::size_t count, float* out);
  /// round(x * inverse_step), clamped to a magnitude of 16 bits.
  void (*words)(const float* x, std::size_t count, const float* inverse_step, float largest,
                std::int16_t* out);
  void (*layer_norm)(const float* x, std::size_t channels, const Norm& norm, float* out);
  void (*attend)(const Head& head);
};

const Kernels& kernels(cpu::Isa isa);

extern const Kernels kScalarKernels;
#ifdef LIC_FAST_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512VnniKernels;
#endif
#ifdef LIC_FAST_TILES
extern const Kernels kAmxKernels;
#endif

}  // namespace lic_fast::integer
