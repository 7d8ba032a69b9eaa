// How a float32 map becomes activations; see Quantizer in lic_fast/runtime/integer.py.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "integer/conv.hpp"
#include "integer/kernels.hpp"

namespace lic_fast::integer {

class Quantizer {
 public:
  /// Throws std::invalid_argument if there is no such number of bits.
  Quantizer(const float* inverse_step, const std::int32_t* zero, std::size_t channels, int bits)
      : channels_(channels), bits_(bits) {
    if (bits != kHalfBits && bits != 2 * kHalfBits) {
      throw std::invalid_argument("an activation has 7 or 14 bits");
    }
    const std::size_t room = (channels + kBlock - 1) / kBlock * kBlock;
    inverse_step_.assign(room, 0.0f);
    zero_.assign(room, 0.0f);
    std::copy_n(inverse_step, channels, inverse_step_.begin());
    std::copy_n(zero, channels, zero_.begin());
  }

  std::size_t channels() const { return channels_; }
  std::size_t halves() const { return static_cast<std::size_t>(bits_ / kHalfBits); }

  /// Of `count` channels from `first` on, a multiple of kBlock, of one pixel. Of 7 bits there is
  /// one half.
  void run(const Kernels& kernels, const float* x, std::size_t first, std::size_t count,
           std::uint8_t* half, std::uint8_t* low) const {
    const bool halved = bits_ != kHalfBits;
    kernels.quantize(
        x, count,
        {inverse_step_.data() + first, zero_.data() + first, static_cast<float>((1 << bits_) - 1)},
        halved ? half : nullptr, halved ? low : half);
  }

 private:
  std::size_t channels_;
  int bits_;
  std::vector<float> inverse_step_, zero_;  // with room for whole blocks
};

}  // namespace lic_fast::integer
