#include <algorithm>
#include <cmath>
#include <cstdint>

#include "latents/kernels.hpp"

#define LIC_FAST_TARGET

namespace lic_fast::latents {
namespace {

#include "latents/loops.inl"

void find(const ScaleSearch& search, const float* scales, std::size_t count,
          std::uint8_t* indexes) {
  for (std::size_t i = 0; i < count; ++i) {
    indexes[i] = static_cast<std::uint8_t>(search.find(scales[i]));
  }
}

}  // namespace

const Kernels kScalarKernels{&quantize, &find};

const Kernels& kernels(cpu::Isa isa) {
  switch (isa) {
#ifdef LIC_FAST_X86
    case cpu::Isa::kAvx512:
      return kAvx512Kernels;
    case cpu::Isa::kAvx2:
      return kAvx2Kernels;
#endif
    default:
      return kScalarKernels;
  }
}

}  // namespace lic_fast::latents
