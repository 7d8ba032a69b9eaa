// The Python face of the element-wise steps.

#include <pybind11/stl.h>

#include <vector>

#include "integer/arrays.hpp"
#include "integer/bindings.hpp"
#include "integer/conv.hpp"

namespace lic_fast::integer {
namespace {

void run_quantize(py::array x, const Dense<float>& inverse_step, const Dense<std::int32_t>& zero,
                  int bits, std::vector<py::array> out, unsigned threads,
                  const std::optional<std::string>& isa) {
  const Shape shape = shape_of(x, "x");
  for (const py::array* numbers :
       {static_cast<const py::array*>(&inverse_step), static_cast<const py::array*>(&zero)}) {
    check(numbers->ndim() == 1 && size(*numbers, 0) == shape.channels,
          "inverse_step and zero must be (N,)");
  }
  check(bits == kHalfBits || bits == 2 * kHalfBits, "an activation has 7 or 14 bits");
  check(out.size() == static_cast<std::size_t>(bits / kHalfBits), "out must have bits / 7 maps");
  std::ptrdiff_t channel = 0;
  const View<const float> from = strided_view<const float>(x, "x", channel);
  View<std::uint8_t> to[2];
  for (std::size_t half = 0; half < out.size(); ++half) {
    to[half] = view_of<std::uint8_t>(out[half], shape, "out");
  }
  if (out.size() == 2) check_apart(out[0], out[1], "itself");
  const cpu::Isa chosen = isa_of(isa);
  const py::gil_scoped_release release;
  quantize(shape, from, channel, inverse_step.data(), zero.data(), bits, to, chosen, threads);
}

void run_add_residual(py::array quantized, py::array lrp, py::array out, unsigned threads,
                      const std::optional<std::string>& isa) {
  const Shape shape = shape_of(quantized, "quantized");
  const auto first = view_of<const float>(quantized, shape, "quantized");
  const auto second = view_of<const float>(lrp, shape, "lrp");
  const auto to = view_of<float>(out, shape, "out");
  if (!same(out, quantized)) check_apart(out, quantized, "quantized");
  if (!same(out, lrp)) check_apart(out, lrp, "lrp");
  const cpu::Isa chosen = isa_of(isa);
  const py::gil_scoped_release release;
  add_residual(shape, first, second, to, chosen, threads);
}

}  // namespace

void bind_elements(py::module_& module) {
  module.def("exact_quantize", &run_quantize, py::arg("x"), py::arg("inverse_step").noconvert(),
             py::arg("zero").noconvert(), py::arg("bits"), py::arg("out"), py::arg("threads"),
             py::arg("isa") = py::none(),
             "Writes the halves of exact.quantized of a map (B, H, W, N) with any strides.");
  module.def("exact_add_residual", &run_add_residual, py::arg("quantized"), py::arg("lrp"),
             py::arg("out"), py::arg("threads"), py::arg("isa") = py::none(),
             "Writes exact.add_residual of maps (B, H, W, N); in place, if out is one of them.");
}

}  // namespace lic_fast::integer
