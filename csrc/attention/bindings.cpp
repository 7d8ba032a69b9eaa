// The Python face of the window attention: arrays in, checked, and out.

#include "attention/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "attention/window_attention.hpp"
#include "cpu/isa.hpp"

namespace lic_fast::attention {
namespace {

namespace py = pybind11;
template <class T>
using Dense = py::array_t<T, py::array::c_style>;
using Array = Dense<float>;

void check(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

/// The problem that these arrays describe, without its result.
template <class T>
Problem problem_of(const Dense<T>& qkv, const Array& bias_table,
                   const std::optional<Array>& pad_value, std::size_t window, std::size_t shift,
                   float scale, float mask_value) {
  check(qkv.ndim() == 4 && bias_table.ndim() == 2,
        "qkv must be (B, H, W, 3 C) and bias_table (positions, heads)");
  const auto size = [](py::ssize_t n) { return static_cast<std::size_t>(n); };
  Problem problem{};
  problem.batch = size(qkv.shape(0));
  problem.height = size(qkv.shape(1));
  problem.width = size(qkv.shape(2));
  problem.heads = size(bias_table.shape(1));
  problem.window = window;
  problem.shift = shift;
  problem.scale = scale;
  problem.mask_value = mask_value;
  check(window >= 1 && window <= kMaxWindow && shift < window, "the window or shift is too large");
  check(size(bias_table.shape(0)) == (2 * window - 1) * (2 * window - 1),
        "the bias table's length is not that of the window");
  const std::size_t channels = size(qkv.shape(3));
  check(problem.heads > 0 && channels > 0 && channels % (3 * problem.heads) == 0,
        "the channels do not divide into the heads");
  problem.head_size = channels / (3 * problem.heads);
  check(!pad_value || (pad_value->ndim() == 1 && size(pad_value->shape(0)) == channels),
        "pad_value must be (3 C,)");
  problem.bfloat16 = std::is_same_v<T, std::uint16_t>;
  problem.qkv = qkv.data();
  problem.bias_table = bias_table.data();
  problem.pad_value = pad_value ? pad_value->data() : nullptr;
  return problem;
}

/// Refuses what is not (B, H, W, C) beside qkv's (B, H, W, 3 C).
template <class T>
void check_result(const Dense<T>& qkv, const Dense<T>& result, const std::string& name) {
  check(result.ndim() == 4, name + " must be (B, H, W, C)");
  for (int i = 0; i < 3; ++i) {
    check(result.shape(i) == qkv.shape(i), name + " has another shape than qkv");
  }
  check(result.shape(3) * 3 == qkv.shape(3), name + " has another number of channels");
}

void check_alike(const py::array& gradient, const py::array& operand, const std::string& name) {
  bool alike = gradient.ndim() == operand.ndim();
  for (py::ssize_t i = 0; alike && i < operand.ndim(); ++i) {
    alike = gradient.shape(i) == operand.shape(i);
  }
  check(alike, "grad_" + name + " has another shape than " + name);
}

template <class T>
void compute(const Dense<T>& qkv, const Array& bias_table, const std::optional<Array>& pad_value,
             Dense<T>& out, std::size_t window, std::size_t shift, float scale, float mask_value,
             unsigned threads, const std::optional<std::string>& isa) {
  Problem problem = problem_of(qkv, bias_table, pad_value, window, shift, scale, mask_value);
  check_result(qkv, out, "out");
  problem.out = out.mutable_data();
  const cpu::Isa chosen = isa ? cpu::isa_of_name(*isa) : cpu::default_isa();
  const py::gil_scoped_release release;
  window_attention(problem, chosen, threads);
}

template <class T>
void compute_backward(const Dense<T>& grad, const Dense<T>& qkv, const Array& bias_table,
                      const std::optional<Array>& pad_value, Dense<T>& grad_qkv,
                      Array& grad_bias_table, std::optional<Array>& grad_pad_value,
                      std::size_t window, std::size_t shift, float scale, float mask_value,
                      unsigned threads, const std::optional<std::string>& isa) {
  const Problem problem = problem_of(qkv, bias_table, pad_value, window, shift, scale, mask_value);
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
  const py::gil_scoped_release release;
  window_attention_backward(problem, gradients, chosen, threads);
}

template <class T>
void bind_element(py::module_& module) {
  module.def("window_attention", &compute<T>, py::arg("qkv").noconvert(),
             py::arg("bias_table").noconvert(), py::arg("pad_value").noconvert(),
             py::arg("out").noconvert(), py::arg("window"), py::arg("shift"), py::arg("scale"),
             py::arg("mask_value"), py::arg("threads"), py::arg("isa") = py::none(),
             "Shifted-window attention of float32 arrays, or of bfloat16 as uint16; see "
             "lic_fast.ops.window_attention.");
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
