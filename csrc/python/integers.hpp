// Integers from Python: lists, NumPy arrays and CPU tensors.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ans/symbols.hpp"
#include "ans/tables.hpp"

namespace lic_fast::python {

namespace py = pybind11;

/// What the caller gave, and so what he gets back.
enum class Kind { kSequence, kArray, kTensor };

/// Whether `object` is a torch tensor. Torch is not imported for that: whoever has a tensor has
/// imported it.
inline bool is_tensor(const py::handle& object) {
  const auto modules = py::reinterpret_borrow<py::dict>(PyImport_GetModuleDict());
  if (!modules.contains("torch")) return false;
  const py::object torch = modules["torch"];
  return py::hasattr(torch, "Tensor") && py::isinstance(object, torch.attr("Tensor"));
}

/// The array that shares its memory with `tensor`, which must lie on the CPU.
inline py::array array_of_tensor(const py::handle& tensor, const std::string& name) {
  const auto device = py::str(tensor.attr("device").attr("type")).cast<std::string>();
  if (device != "cpu") {
    throw py::type_error(name + " is a tensor on " + device + "; the coder needs it on the CPU");
  }
  return tensor.attr("numpy")();
}

inline std::string shape_text(const std::vector<py::ssize_t>& shape) {
  return py::str(py::tuple(py::cast(shape))).cast<std::string>();
}

/// C-contiguous and aligned, without a copy where it already is.
template <class T>
using DenseArray = py::array_t<T, py::array::c_style | py::array::forcecast |
                                      py::detail::npy_api::NPY_ARRAY_ALIGNED_>;

/// A list, array or tensor of integers, seen as a span in C order.
///
/// Of dense arrays of int32, int16 and uint8 the span is their own memory, kept alive here.
/// Everything else is converted to int32.
class Integers {
 public:
  using AnySpan =
      std::variant<ans::Span<std::int32_t>, ans::Span<std::int16_t>, ans::Span<std::uint8_t>>;

  /// Throws TypeError for what holds no integers, and for integers beyond 32 bits IndexError if
  /// they are to name one of `tables` tables, else OverflowError.
  Integers(const py::handle& object, std::string name, std::size_t tables = 0)
      : name_(std::move(name)), tables_(tables) {
    if (py::isinstance<py::array>(object)) {
      kind = Kind::kArray;
      take_array(py::reinterpret_borrow<py::array>(object));
    } else if (is_tensor(object)) {
      kind = Kind::kTensor;
      take_array(array_of_tensor(object, name_));
    } else {
      kind = Kind::kSequence;
      take_sequence(object);
    }
  }
  Integers(Integers&&) = default;
  Integers(const Integers&) = delete;

  std::size_t size() const {
    return std::visit([](const auto& any) { return any.size; }, span);
  }

  /// The same as int32.
  ans::Span<std::int32_t> int32() {
    if (const auto* same = std::get_if<ans::Span<std::int32_t>>(&span)) return *same;
    std::visit([this](const auto& any) { converted_.assign(any.data, any.data + any.size); }, span);
    span = ans::Span<std::int32_t>{converted_.data(), converted_.size()};
    return std::get<ans::Span<std::int32_t>>(span);
  }

  Kind kind = Kind::kSequence;
  std::vector<py::ssize_t> shape;
  AnySpan span;

 private:
  void take_array(const py::array& array) {
    shape.assign(array.shape(), array.shape() + array.ndim());
    const char type = array.dtype().kind();
    const auto bytes = array.dtype().itemsize();
    if (type != 'i' && type != 'u') {
      throw py::type_error(name_ + " must hold integers, not " +
                           py::str(array.dtype()).cast<std::string>());
    }
    if (type == 'i' && bytes == 4) {
      share<std::int32_t>(array);
    } else if (type == 'i' && bytes == 2) {
      share<std::int16_t>(array);
    } else if (type == 'u' && bytes == 1) {
      share<std::uint8_t>(array);
    } else if (type == 'u') {
      narrow<std::uint64_t>(array);
    } else {
      narrow<std::int64_t>(array);
    }
  }

  template <class T>
  void share(const py::array& array) {
    const DenseArray<T> dense(array);
    span = ans::Span<T>{dense.data(), static_cast<std::size_t>(dense.size())};
    owner_ = dense;
  }

  template <class T>
  void narrow(const py::array& array) {
    const DenseArray<T> dense(array);
    const T* data = dense.data();
    const auto size = static_cast<std::size_t>(dense.size());
    converted_.resize(size);
    for (std::size_t i = 0; i < size; ++i) {
      if (!fits(data[i])) throw_too_wide(i, std::to_string(data[i]));
      converted_[i] = static_cast<std::int32_t>(data[i]);
    }
    span = ans::Span<std::int32_t>{converted_.data(), size};
  }

  static bool fits(std::uint64_t value) {
    return value <= static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max());
  }
  static bool fits(std::int64_t value) {
    return value >= std::numeric_limits<std::int32_t>::min() &&
           value <= std::numeric_limits<std::int32_t>::max();
  }

  void take_sequence(const py::handle& object) {
    if (PyUnicode_Check(object.ptr()) || !PySequence_Check(object.ptr())) {
      throw py::type_error(name_ + " must be a list, array or tensor of integers, not " +
                           py::str(py::type::of(object).attr("__name__")).cast<std::string>());
    }
    // A tuple, since a list could be changed by the __index__ of one of its elements.
    const py::tuple items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(object.ptr()));
    if (!items) throw py::error_already_set();
    const std::size_t size = items.size();
    converted_.resize(size);
    for (std::size_t i = 0; i < size; ++i) {
      converted_[i] = from_object(PyTuple_GET_ITEM(items.ptr(), static_cast<py::ssize_t>(i)), i);
    }
    shape.assign(1, static_cast<py::ssize_t>(size));
    span = ans::Span<std::int32_t>{converted_.data(), size};
  }

  std::int32_t from_object(PyObject* item, std::size_t position) const {
    py::object integer;
    if (!PyLong_Check(item)) {
      integer = py::reinterpret_steal<py::object>(PyNumber_Index(item));
      if (!integer) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
        PyErr_Clear();
        throw py::type_error(name_ + "[" + std::to_string(position) + "] is no integer but a " +
                             std::string(Py_TYPE(item)->tp_name));
      }
      item = integer.ptr();
    }
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(item, &overflow);
    if (overflow != 0 || !fits(static_cast<std::int64_t>(value))) {
      throw_too_wide(position, py::str(py::handle(item)).cast<std::string>());
    }
    return static_cast<std::int32_t>(value);
  }

  [[noreturn]] void throw_too_wide(std::size_t position, const std::string& value) const {
    if (tables_ != 0) ans::throw_bad_index(position, value, tables_);
    throw std::overflow_error(name_ + "[" + std::to_string(position) + "] is " + value +
                              ", which does not fit 32 bits");
  }

  std::string name_;
  std::size_t tables_;
  py::object owner_;
  std::vector<std::int32_t> converted_;
};

}  // namespace lic_fast::python
