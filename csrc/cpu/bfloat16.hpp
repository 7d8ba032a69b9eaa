// bfloat16 as its bits: the upper half of a float's.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/isa.hpp"

namespace lic_fast::cpu {

LIC_FAST_INLINE float wide(float x) { return x; }
LIC_FAST_INLINE float wide(std::uint16_t x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x) << 16;
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// To T, float or std::uint16_t for bfloat16: rounded to the nearest, ties to even.
template <class T>
LIC_FAST_INLINE T narrow(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &x, sizeof bits);
    const std::uint32_t rounded = bits + 0x7FFF + ((bits >> 16) & 1);
    const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    return static_cast<std::uint16_t>((nan ? bits | 0x400000 : rounded) >> 16);
  }
}

}  // namespace lic_fast::cpu
