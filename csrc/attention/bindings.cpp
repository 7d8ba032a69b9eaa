// The Python face of the window attention: arrays in, checked, and out.

#include "attention/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include "attention/window_attention.hpp"
#include "cpu/isa.hpp"
#include "python/maps.hpp"

namespace lic_fast::attention {
namespace {

namespace py = pybind11;
using python::check;
using python::map_of;
using python::size;
using Array = py::array_t<float, py::array::c_style>;
/// Maps of any distances; those of gradients are dense.
template <class T>
using Strided = py::array_t<T>;
template <class T>
using Dense = py::array_t<T, py::array::c_style>;

/// The parameters that these arrays and numbers are for maps of T.
template <class T>
Parameters parameters_of(const py::array& qkv, const Array& bias_table,
                         const std::optional<Array>& pad_value, std::size_t window,
                         std::size_t shift, float scale, float mask_value) {
  check(qkv.ndim() == 4 && bias_table.ndim() == 2,
        "qkv must be (B, H, W, 3 C) and bias_table (positions, heads)");
  check(window >= 1 && window <= kMaxWindow && shift < window, "the window or shift is too large");
  check(size(bias_table, 0) == (2 * window - 1) * (2 * window - 1),
        "the bias table's length is not that of the window");
  const std::size_t channels = size(qkv, 3), heads = size(bias_table, 1);
  check(heads > 0 && channels > 0 && channels % (3 * heads) == 0,
        "the channels do not divide into the heads");
  check(!pad_value || (pad_value->ndim() == 1 && size(*pad_value, 0) == channels),
        "pad_value must be (3 C,)");
  return {heads,
          channels / (3 * heads),
          window,
          shift,
          scale,
          mask_value,
          std::is_same_v<T, std::uint16_t>,
          pad_value ? pad_value->data() : nullptr,
          bias_table.data()};
}

/// Refuses what is not (B, H, W, C) where qkv is (B, H, W, 3 C).
void check_result(const py::array& qkv, const py::array& result, const std::string& name) {
  check(result.ndim() == 4, (name + " must be (B, H, W, C)").c_str());
  for (int i = 0; i < 3; ++i) {
    check(result.shape(i) == qkv.shape(i), (name + " has another shape than qkv").c_str());
  }
  check(result.shape(3) * 3 == qkv.shape(3), (name + " has another number of channels").c_str());
}

void check_alike(const py::array& gradient, const py::array& operand, const std::string& name) {
  bool alike = gradient.ndim() == operand.ndim();
  for (py::ssize_t i = 0; alike && i < operand.ndim(); ++i) {
    alike = gradient.shape(i) == operand.shape(i);
  }
  check(alike, ("grad_" + name + " has another shape than " + name).c_str());
}

template <class T>
void compute(const Strided<T>& qkv, const Array& bias_table, const std::optional<Array>& pad_value,
             Strided<T>& out, std::size_t window, std::size_t shift, float scale, float mask_value,
             unsigned threads, const std::optional<std::string>& isa, std::size_t rows_begin,
             std::optional<std::size_t> rows_end) {
  const Parameters parameters =
      parameters_of<T>(qkv, bias_table, pad_value, window, shift, scale, mask_value);
  check_result(qkv, out, "out");
  const auto from = map_of<const void>(qkv.data(), qkv, qkv);
  const auto to = map_of<void>(out.mutable_data(), out, qkv);
  const std::size_t height = size(qkv, 1);
  const cpu::Isa chosen = isa ? cpu::isa_of_name(*isa) : cpu::default_isa();
  const py::gil_scoped_release release;
  const Tables tables(parameters, chosen, Pass::kForward);
  window_attention(
      {tables, size(qkv, 0), height, size(qkv, 2), from, to, rows_begin, rows_end.value_or(height)},
      threads);
}

template <class T>
void compute_backward(const Dense<T>& grad, const Dense<T>& qkv, const Array& bias_table,
                      const std::optional<Array>& pad_value, Dense<T>& grad_qkv,
                      Array& grad_bias_table, std::optional<Array>& grad_pad_value,
                      std::size_t window, std::size_t shift, float scale, float mask_value,
                      unsigned threads, const std::optional<std::string>& isa) {
  const Parameters parameters =
      parameters_of<T>(qkv, bias_table, pad_value, window, shift, scale, mask_value);
  check_result(qkv, grad, "grad");
  check_alike(grad_qkv, qkv, "qkv");
  check_alike(grad_bias_table, bias_table, "bias_table");
  if (grad_pad_value) {
    check(pad_value.has_value(), "there is no pad_value to have a gradient");
    check_alike(*grad_pad_value, *pad_value, "pad_value");
  }
  const Gradients gradients{grad.data(), grad_qkv.mutable_data(), grad_bias_table.mutable_data(),
                            grad_pad_value ? grad_pad_value->mutable_data() : nullptr};
  const cpu::Isa chosen = isa ? cpu::isa_of_name(*isa) : cpu::default_isa();
  const auto from = map_of<const void>(qkv.data(), qkv, qkv);
  const std::size_t height = size(qkv, 1);
  const py::gil_scoped_release release;
  const Tables tables(parameters, chosen, Pass::kBackward);
  window_attention_backward({tables, size(qkv, 0), height, size(qkv, 2), from, {}, 0, height},
                            gradients, threads);
}

template <class T>
void bind_element(py::module_& module) {
  module.def("window_attention", &compute<T>, py::arg("qkv").noconvert(),
             py::arg("bias_table").noconvert(), py::arg("pad_value").noconvert(),
             py::arg("out").noconvert(), py::arg("window"), py::arg("shift"), py::arg("scale"),
             py::arg("mask_value"), py::arg("threads"), py::arg("isa") = py::none(),
             py::arg("rows_begin") = 0, py::arg("rows_end") = py::none(),
             "Shifted-window attention of float32 arrays, or of bfloat16 as uint16; see "
             "lic_fast.ops.window_attention. Only rows rows_begin to rows_end - 1 are computed, "
             "which begin and end where shifted windows do, or the map.");
  module.def("window_attention_backward", &compute_backward<T>, py::arg("grad").noconvert(),
             py::arg("qkv").noconvert(), py::arg("bias_table").noconvert(),
             py::arg("pad_value").noconvert(), py::arg("grad_qkv").noconvert(),
             py::arg("grad_bias_table").noconvert(), py::arg("grad_pad_value").noconvert(),
             py::arg("window"), py::arg("shift"), py::arg("scale"), py::arg("mask_value"),
             py::arg("threads"), py::arg("isa") = py::none(),
             "Writes the gradients of window_attention's operands, given that of its result. They "
             "do not depend on the number of threads.");
}

}  // namespace

void bind(py::module_& module) {
  bind_element<float>(module);
  bind_element<std::uint16_t>(module);
}

}  // namespace lic_fast::attention
