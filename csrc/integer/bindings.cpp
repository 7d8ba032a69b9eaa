// The Python face of the integer convolution: arrays in, checked, and out.

#include "integer/bindings.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "integer/arrays.hpp"
#include "integer/conv.hpp"

namespace lic_fast::integer {
namespace {

std::unique_ptr<Weights> make_weights(const Dense<std::int8_t>& weights, std::size_t groups) {
  check(weights.ndim() == 4 && weights.shape(2) == weights.shape(3) && weights.shape(2) % 2 == 1,
        "weights must be (M, N / groups, k, k) with an odd k");
  check(groups > 0 && weights.size() > 0 && size(weights, 0) % groups == 0,
        "the output channels do not divide into the groups");
  return std::make_unique<Weights>(weights.data(), size(weights, 0), size(weights, 1) * groups,
                                   groups, size(weights, 2));
}

void compute(const Weights& weights, const std::vector<Dense<std::uint8_t>>& x,
             const std::vector<Dense<std::uint8_t>>& border, Dense<std::int32_t>& out,
             std::size_t stride, unsigned threads, const std::optional<std::string>& isa) {
  check((x.size() == 1 || x.size() == 2) && border.size() == x.size(),
        "there must be one or two halves, and a border for each");
  check(stride > 0 && stride <= weights.kernel, "the stride must be in 1..k");
  Problem problem{weights, 0, 0, 0, stride, x.size(), {}, {}};
  for (std::size_t half = 0; half < x.size(); ++half) {
    check(x[half].ndim() == 4 && size(x[half], 3) == weights.in_channels, "x must be (B, H, W, N)");
    for (int d = 0; d < 4; ++d) {
      check(x[half].shape(d) == x[0].shape(d), "the halves have different shapes");
    }
    problem.x[half] =
        dense_view(x[half].data(), size(x[half], 1), size(x[half], 2), weights.in_channels);
    check(border[half].ndim() == 1 && size(border[half], 0) == weights.in_channels,
          "a border must be (N,)");
    problem.border[half] = border[half].data();
  }
  problem.batch = size(x[0], 0);
  problem.height = size(x[0], 1);
  problem.width = size(x[0], 2);
  check(out.ndim() == 4 && size(out, 0) == problem.batch && size(out, 1) == problem.out_height() &&
            size(out, 2) == problem.out_width() && size(out, 3) == weights.out_channels,
        "out must be (B, H', W', M)");
  if (out.size() == 0) return;
  problem.sums = dense_view(out.mutable_data(), problem.out_height(), problem.out_width(),
                            weights.out_channels);
  const cpu::Isa chosen = isa_of(isa);
  const py::gil_scoped_release release;
  convolve(problem, chosen, threads);
}

}  // namespace

void bind(py::module_& module) {
  py::class_<Weights>(module, "IntegerWeights",
                      "Weights of an integer convolution, packed; see "
                      "lic_fast.ops.integer_conv2d.")
      .def(py::init(&make_weights), py::arg("weights").noconvert(), py::arg("groups"))
      .def_property_readonly("tile_sides", &Weights::tile_sides,
                             "Sides of the tiles by which Winograd's algorithm has computed a "
                             "convolution: 2, 4, both or none.");
  module.def("integer_conv2d", &compute, py::arg("weights"), py::arg("x"), py::arg("border"),
             py::arg("out").noconvert(), py::arg("stride"), py::arg("threads"),
             py::arg("isa") = py::none(),
             "Writes the sums of a convolution of 7-bit halves; see lic_fast.ops.integer_conv2d.");
  bind_layers(module);
  bind_elements(module);
  bind_transformer(module);
  bind_programs(module);
}

}  // namespace lic_fast::integer
