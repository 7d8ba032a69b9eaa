#include "integer/kernels.hpp"

namespace lic_fast::integer {

const Kernels& kernels(cpu::Isa isa) {
  switch (isa) {
#ifdef LIC_FAST_TILES
    case cpu::Isa::kAmx:
      return kAmxKernels;
#endif
#ifdef LIC_FAST_X86
    case cpu::Isa::kAvx512Vnni:
      return kAvx512VnniKernels;
    case cpu::Isa::kAvx512:
      return kAvx512Kernels;
    case cpu::Isa::kAvx2:
      return kAvx2Kernels;
#endif
    default:
      return kScalarKernels;
  }
}

}  // namespace lic_fast::integer
