// Loops over latents that lie one after another, written once for each instruction set.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"
#include "latents/scale_search.hpp"

namespace lic_fast::latents {

struct Kernels {
  /// symbols = round(y - mean), y_hat = symbols + mean. Whether all symbols fit 16 bits; if not,
  /// the output is of no use.
  bool (*quantize)(const float* y, const float* mean, std::size_t count, std::int16_t* symbols,
                   float* y_hat);
  /// ScaleSearch::find of each scale.
  void (*find)(const ScaleSearch& search, const float* scales, std::size_t count,
               std::uint8_t* indexes);
};

const Kernels& kernels(cpu::Isa isa);

extern const Kernels kScalarKernels;
#ifdef LIC_FAST_X86
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace lic_fast::latents
