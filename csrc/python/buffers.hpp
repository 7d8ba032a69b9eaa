// Bytes from Python, and int32 arrays for it.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "python/integers.hpp"

namespace lic_fast::python {

/// A copy of anything that has the buffer protocol with items of one byte.
inline std::string copy_bytes(const py::handle& object, const std::string& name) {
  if (!PyObject_CheckBuffer(object.ptr())) {
    throw py::type_error(name + " must be bytes, bytearray, memoryview or an array of uint8, not " +
                         std::string(Py_TYPE(object.ptr())->tp_name));
  }
  struct View {
    explicit View(PyObject* source) {
      if (PyObject_GetBuffer(source, &buffer, PyBUF_FULL_RO) != 0) throw py::error_already_set();
    }
    ~View() { PyBuffer_Release(&buffer); }
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    Py_buffer buffer{};
  };
  View view(object.ptr());
  if (view.buffer.itemsize != 1) {
    throw py::type_error(name + " has items of " + std::to_string(view.buffer.itemsize) +
                         " bytes; it must be an array of uint8");
  }
  std::string bytes(static_cast<std::size_t>(view.buffer.len), '\0');
  if (PyBuffer_ToContiguous(bytes.data(), &view.buffer, view.buffer.len, 'C') != 0) {
    throw py::error_already_set();
  }
  return bytes;
}

/// Where decoded symbols go: the caller's `out`, or memory of the kind that the indexes are of.
class Output {
 public:
  using Data = std::variant<std::int32_t*, std::int16_t*>;

  /// `out` is None, or an array or CPU tensor of the shape of the indexes, of int32 or, if
  /// `int16` is set, int16.
  Output(const Integers& indexes, py::object out, bool int16 = false)
      : kind_(indexes.kind), out_(std::move(out)) {
    if (out_.is_none()) {
      if (kind_ == Kind::kSequence) {
        values_.resize(indexes.size());
        data = values_.data();
      } else {
        const py::array_t<std::int32_t> fresh(indexes.shape);
        array_ = fresh;
        data = static_cast<std::int32_t*>(array_.mutable_data());
      }
    } else {
      claim(indexes.shape, int16);
    }
  }

  /// The caller's `out`; or else a list, array or tensor.
  py::object result() const {
    if (!out_.is_none()) return out_;
    if (kind_ == Kind::kArray) return array_;
    if (kind_ == Kind::kTensor) return py::module_::import("torch").attr("from_numpy")(array_);
    py::list list(values_.size());
    for (std::size_t i = 0; i < values_.size(); ++i) {
      PyObject* item = PyLong_FromLong(values_[i]);
      if (item == nullptr) throw py::error_already_set();
      PyList_SET_ITEM(list.ptr(), static_cast<py::ssize_t>(i), item);
    }
    return list;
  }

  Data data;

 private:
  void claim(const std::vector<py::ssize_t>& shape, bool int16) {
    const std::string types = int16 ? "int16 or int32" : "int32";
    py::array target;
    if (is_tensor(out_)) {
      target = array_of_tensor(out_, "out");
    } else if (py::isinstance<py::array>(out_)) {
      target = py::reinterpret_borrow<py::array>(out_);
    } else {
      throw py::type_error("out must be an array or tensor of " + types + ", not " +
                           std::string(Py_TYPE(out_.ptr())->tp_name));
    }
    const bool is_int32 = target.dtype().equal(py::dtype::of<std::int32_t>());
    const bool is_int16 = int16 && target.dtype().equal(py::dtype::of<std::int16_t>());
    constexpr int kDense = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if (!(is_int32 || is_int16) || (target.flags() & kDense) != kDense || !target.writeable()) {
      throw py::type_error("out must be a writeable, C-contiguous array of " + types);
    }
    const std::vector<py::ssize_t> given(target.shape(), target.shape() + target.ndim());
    if (given != shape) {
      throw std::invalid_argument("out has shape " + shape_text(given) + ", the indexes " +
                                  shape_text(shape));
    }
    array_ = target;
    if (is_int32) {
      data = static_cast<std::int32_t*>(target.mutable_data());
    } else {
      data = static_cast<std::int16_t*>(target.mutable_data());
    }
  }

  Kind kind_;
  py::object out_;
  py::array array_;
  std::vector<std::int32_t> values_;
};

}  // namespace lic_fast::python
