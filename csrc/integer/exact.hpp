// The constants of lic_fast/ops/exact.py, where they are explained.

#pragma once

namespace lic_fast::integer {

inline constexpr float kLimit = 4.5f;
inline constexpr float kErf[] = {0x1.98481cp-2f,   -0x1.0e45e4p-4f,  0x1.3a165cp-7f,
                                 -0x1.0fff3ep-10f, 0x1.5584d4p-14f,  -0x1.2abf0ep-18f,
                                 0x1.55a842p-23f,  -0x1.c78d42p-29f, 0x1.0b13eep-35f};
inline constexpr float kExp[] = {0x1.000000p+0f, 0x1.fffffcp-2f, 0x1.55541ap-3f,
                                 0x1.555826p-5f, 0x1.126794p-7f, 0x1.6ae71ep-10f};
inline constexpr float kLeastExponent = -87.0f;
inline constexpr float kLog2E = 0x1.715476p+0f;
inline constexpr float kLn2High = 0x1.62e400p-1f, kLn2Low = 0x1.7f7d1cp-20f;
inline constexpr float kLeakySlope = 0x1.47ae14p-7f;

}  // namespace lic_fast::integer
