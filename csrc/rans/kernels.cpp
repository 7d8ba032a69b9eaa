#include "rans/kernels.hpp"

namespace lic_fast::rans {

const Kernels& kernels(cpu::Isa isa) {
  static constexpr Kernels kNone{};
  switch (isa) {
#ifdef LIC_FAST_X86
    case cpu::Isa::kAmx:
    case cpu::Isa::kAvx512Vnni:
    case cpu::Isa::kAvx512:
      return kAvx512Kernels;
    case cpu::Isa::kAvx2:
      return kAvx2Kernels;
#endif
    default:
      return kNone;
  }
}

}  // namespace lic_fast::rans
