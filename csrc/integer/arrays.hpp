// Arrays of Python as maps: channels last, checked, possibly some of the channels of larger ones.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>

#include "cpu/isa.hpp"
#include "integer/elements.hpp"
#include "integer/view.hpp"

namespace lic_fast::integer {

namespace py = pybind11;
template <class T>
using Dense = py::array_t<T, py::array::c_style>;

inline void check(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

inline std::size_t size(const py::array& array, int dimension) {
  return static_cast<std::size_t>(array.shape(dimension));
}

inline Shape shape_of(const py::array& array, const char* name) {
  check(array.ndim() == 4, std::string(name) + " must be (B, H, W, N)");
  return {size(array, 0), size(array, 1), size(array, 2), size(array, 3)};
}

inline void check_shape(const py::array& array, const Shape& shape, const char* name) {
  const Shape own = shape_of(array, name);
  check(own.batch == shape.batch && own.height == shape.height && own.width == shape.width &&
            own.channels == shape.channels,
        std::string(name) + " has another shape");
}

/// The steps of an array (B, H, W, N) of T, in elements, with that of the channels.
template <class T>
View<T> strided_view(py::array& array, const char* name, std::ptrdiff_t& channel) {
  using Value = std::remove_const_t<T>;
  if (!py::isinstance<py::array_t<Value>>(array)) {
    throw py::type_error(std::string(name) + " must be of type " +
                         py::str(py::dtype::of<Value>()).cast<std::string>());
  }
  constexpr auto kSize = static_cast<py::ssize_t>(sizeof(T));
  View<T> view;
  if constexpr (std::is_const_v<T>) {
    view.data = static_cast<T*>(array.data());
  } else {
    view.data = static_cast<T*>(array.mutable_data());  // throws if it is not writeable
  }
  bool aligned = reinterpret_cast<std::uintptr_t>(view.data) % sizeof(T) == 0;
  for (int d = 0; d < 4; ++d) aligned = aligned && array.strides(d) % kSize == 0;
  check(aligned, std::string(name) + " is not aligned");
  view.image = array.strides(0) / kSize;
  view.row = array.strides(1) / kSize;
  view.pixel = array.strides(2) / kSize;
  channel = array.size() > 0 && array.shape(3) > 1 ? array.strides(3) / kSize : 1;
  return view;
}

template <class T>
View<T> view_of(py::array& array, const Shape& shape, const char* name) {
  check_shape(array, shape, name);
  std::ptrdiff_t channel = 0;
  const View<T> view = strided_view<T>(array, name, channel);
  check(channel == 1, std::string("the channels of ") + name + " must be side by side");
  return view;
}

/// Whether two arrays with channels side by side have a byte in common; true also for some that
/// have none but are no channels of one map.
inline bool overlapping(const py::array& a, const py::array& b) {
  if (a.size() == 0 || b.size() == 0) return false;
  const auto address = [](const py::array& array) {
    return static_cast<std::ptrdiff_t>(reinterpret_cast<std::uintptr_t>(array.data()));
  };
  const auto channels = [](const py::array& array) {
    return static_cast<std::ptrdiff_t>(array.shape(3) * array.itemsize());
  };
  std::ptrdiff_t low[2], high[2], step = 0;
  for (int i = 0; i < 2; ++i) {
    const py::array& array = i == 0 ? a : b;
    low[i] = address(array);
    high[i] = low[i] + channels(array);
    for (int d = 0; d < 3; ++d) {
      if (array.shape(d) == 1) continue;
      const std::ptrdiff_t reach = (array.shape(d) - 1) * array.strides(d);
      (reach < 0 ? low : high)[i] += reach;
      step = std::gcd(step, static_cast<std::ptrdiff_t>(array.strides(d)));
    }
  }
  if (high[0] <= low[1] || high[1] <= low[0]) return false;
  if (step == 0) return true;
  // Every pixel is a multiple of the step away from every other one of its map.
  const std::ptrdiff_t apart = ((address(b) - address(a)) % step + step) % step;
  return apart < channels(a) || apart + channels(b) > step;
}

inline void check_apart(const py::array& out, const py::array& operand, const char* name) {
  check(!overlapping(out, operand), std::string("out overlaps ") + name);
}

/// The same elements in the same order.
inline bool same(const py::array& a, const py::array& b) {
  bool equal = a.data() == b.data() && a.ndim() == b.ndim();
  for (py::ssize_t d = 0; equal && d < a.ndim(); ++d) equal = a.strides(d) == b.strides(d);
  return equal;
}

inline cpu::Isa isa_of(const std::optional<std::string>& isa) {
  return isa ? cpu::isa_of_name(*isa) : cpu::default_isa();
}

}  // namespace lic_fast::integer
