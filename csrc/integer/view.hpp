// Maps in someone's memory.

#pragma once

#include <cstddef>
#include <initializer_list>
#include <limits>
#include <stdexcept>

namespace lic_fast::integer {

/// (images, rows, columns) of pixels, whose channels are side by side; steps are in elements. It
/// may be some of the channels of a larger map.
template <class T>
struct View {
  T* data = nullptr;
  std::ptrdiff_t image = 0, row = 0, pixel = 0;

  template <class I>
  T* at(I i, I y, I x) const {
    return data + static_cast<std::ptrdiff_t>(i) * image + static_cast<std::ptrdiff_t>(y) * row +
           static_cast<std::ptrdiff_t>(x) * pixel;
  }
};

/// That of a map in one piece.
template <class T>
View<T> dense_view(T* data, std::size_t height, std::size_t width, std::size_t channels) {
  const auto steps = [](std::size_t n) { return static_cast<std::ptrdiff_t>(n); };
  return {data, steps(height * width * channels), steps(width * channels), steps(channels)};
}

/// The product of sizes. Throws std::length_error if no memory can be so large, as that of a map
/// whose pixels are all in one place.
inline std::size_t memory_size(std::initializer_list<std::size_t> sizes) {
  std::size_t product = 1;
  for (const std::size_t size : sizes) {
    if (size != 0 && product > std::numeric_limits<std::size_t>::max() / 4 / size) {
      throw std::length_error("a map is too large");
    }
    product *= size;
  }
  return product;
}

}  // namespace lic_fast::integer
