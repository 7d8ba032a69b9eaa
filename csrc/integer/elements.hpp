// The element-wise steps before and after a portable network; see lic_fast/ops/exact.py.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"
#include "integer/view.hpp"

namespace lic_fast::integer {

/// (batch, height, width) pixels of some channels.
struct Shape {
  std::size_t batch, height, width, channels;
};

/// Activations of x, to one half (7 bits) or two (14). `channel` is the step from one channel of x
/// to the next, in elements; inverse_step and zero are of each channel.
void quantize(const Shape& shape, const View<const float>& x, std::ptrdiff_t channel,
              const float* inverse_step, const std::int32_t* zero, int bits,
              const View<std::uint8_t> (&out)[2], cpu::Isa isa, unsigned threads);

/// out = quantized + tanh(lrp) / 2. `out` may be one of the others.
void add_residual(const Shape& shape, const View<const float>& quantized,
                  const View<const float>& lrp, const View<float>& out, cpu::Isa isa,
                  unsigned threads);

}  // namespace lic_fast::integer
