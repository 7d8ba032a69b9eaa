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

void check(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

template <class T>
void compute(const Dense<T>& qkv, const Array& bias_table, const std::optional<Array>& pad_value,
             Dense<T>& out, std::size_t window, std::size_t shift, float scale, float mask_value,
             unsigned threads, const std::optional<std::string>& isa) {
  check(qkv.ndim() == 4 && out.ndim() == 4 && bias_table.ndim() == 2,
        "qkv must be (B, H, W, 3 C), out (B, H, W, C) and bias_table (positions, heads)");
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
  for (int i = 0; i < 3; ++i) check(out.shape(i) == qkv.shape(i), "out has another shape than qkv");
  check(size(out.shape(3)) * 3 == channels, "out has another number of channels");
  check(!pad_value || (pad_value->ndim() == 1 && size(pad_value->shape(0)) == channels),
        "pad_value must be (3 C,)");
  problem.bfloat16 = std::is_same_v<T, std::uint16_t>;
  problem.qkv = qkv.data();
  problem.bias_table = bias_table.data();
  problem.pad_value = pad_value ? pad_value->data() : nullptr;
  problem.out = out.mutable_data();
  const cpu::Isa chosen = isa ? cpu::isa_of_name(*isa) : cpu::default_isa();
  const py::gil_scoped_release release;
  window_attention(problem, chosen, threads);
}

template <class T>
void bind_element(py::module_& module) {
  module.def("window_attention", &compute<T>, py::arg("qkv").noconvert(),
             py::arg("bias_table").noconvert(), py::arg("pad_value").noconvert(),
             py::arg("out").noconvert(), py::arg("window"), py::arg("shift"), py::arg("scale"),
             py::arg("mask_value"), py::arg("threads"), py::arg("isa") = py::none(),
             "Shifted-window attention of float32 arrays, or of bfloat16 as uint16; see "
             "lic_fast.ops.window_attention.");
}

}  // namespace

void bind(py::module_& module) {
  bind_element<float>(module);
  bind_element<std::uint16_t>(module);
}

}  // namespace lic_fast::attention
