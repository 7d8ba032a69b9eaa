// Where the numbers of a map lie.

#pragma once

#include <cstddef>

namespace lic_fast::cpu {

/// A map with channels last; distances are in numbers.
template <class Data>
struct Map {
  Data* data;
  std::size_t image, row, pixel;
};

}  // namespace lic_fast::cpu
