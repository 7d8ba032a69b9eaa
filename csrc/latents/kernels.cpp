#include "latents/kernels.hpp"

namespace lic_fast::latents {
namespace {

void transpose(const float* from, std::ptrdiff_t stride, std::size_t rows, std::size_t columns,
               float* to) {
  scalar::transpose_from(0, 0, from, stride, rows, columns, to);
}

constexpr Kernels kScalarKernels{
    &scalar::round_row<std::int16_t>,
    &scalar::round_row<std::int32_t>,
    &scalar::add_row<std::int16_t>,
    &scalar::add_row<std::int32_t>,
    &scalar::find_row,
    &transpose,
};

}  // namespace

const Kernels& kernels(cpu::Isa isa) {
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
      return kScalarKernels;
  }
}

}  // namespace lic_fast::latents
