// Copies of arrays whose dimensions lie in another order.

#pragma once

#include <cstddef>
#include <vector>

namespace lic_fast::cpu {

/// A dimension of an array and of its copy, whose numbers are so many bytes apart in either.
struct Dimension {
  std::size_t size, from, to;
};

/// Copies numbers of `item` bytes, 1, 2, 4 or 8. The arrays are the caller's and do not overlap.
void copy(std::vector<Dimension> dimensions, const void* from, void* to, std::size_t item,
          unsigned threads);

}  // namespace lic_fast::cpu
