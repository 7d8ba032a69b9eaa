// The order in which products.inl reads weights.

#pragma once

#include <cstddef>

namespace lic_fast::cpu {

/// Outputs whose weights lie side by side.
inline constexpr std::size_t kPanel = 16;
/// Panels whose products are computed together, where there are registers for them.
inline constexpr std::size_t kMostPanels = 4;

}  // namespace lic_fast::cpu
