// Maps that come from Python.

#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <stdexcept>

#include "cpu/map.hpp"

namespace lic_fast::python {

inline void check(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

inline std::size_t size(const pybind11::array& x, int dimension) {
  return static_cast<std::size_t>(x.shape(dimension));
}

/// The map of x, (batch, rows, columns, channels), whose numbers are of the type of those of `like`
/// and begin at `data`.
template <class Data>
cpu::Map<Data> map_of(Data* data, const pybind11::array& x, const pybind11::array& like) {
  check(x.ndim() == 4 && x.dtype().is(like.dtype()),
        "maps must be (batch, rows, columns, channels), all of one type");
  const pybind11::ssize_t item = x.itemsize();
  cpu::Map<Data> map{data, 0, 0, 0};
  std::size_t* const distances[] = {&map.image, &map.row, &map.pixel};
  for (int i = 0; i < 3; ++i) {
    check(x.strides(i) >= 0 && x.strides(i) % item == 0, "a map's strides must be whole numbers");
    *distances[i] = static_cast<std::size_t>(x.strides(i) / item);
  }
  check(x.size() == 0 || x.shape(3) < 2 || x.strides(3) == item,
        "the channels of a pixel must lie side by side");
  return map;
}

}  // namespace lic_fast::python
