// The Python face of the convolutions by tiles: arrays in, checked, and out.

#include "tiles/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "python/maps.hpp"
#include "tiles/convolution.hpp"

namespace lic_fast::tiles {
namespace {

namespace py = pybind11;
using python::check;
using python::map_of;
using python::size;
using Floats = py::array_t<float, py::array::c_style>;

std::shared_ptr<Weights> make(const Floats& weights, const Floats& bias) {
  check(weights.ndim() == 4 && weights.shape(2) == weights.shape(3) && weights.shape(2) % 2 == 1,
        "weights must be (outputs, inputs, kernel, kernel) with an odd kernel");
  check(weights.size() > 0, "weights must not be empty");
  check(bias.ndim() == 1 && bias.shape(0) == weights.shape(0), "bias must be (outputs,)");
  const py::gil_scoped_release release;
  return std::make_shared<Weights>(weights.data(), bias.data(), size(weights, 0), size(weights, 1),
                                   size(weights, 2));
}

void run(const Weights& weights, const py::array& x, py::array out,
         const std::optional<py::array>& residual, const std::string& activation,
         std::size_t stride, std::size_t shuffle, unsigned threads, std::size_t rows_begin,
         std::optional<std::size_t> rows_end) {
  check(x.dtype().is(py::dtype::of<std::uint16_t>()), "maps must be bfloat16 as uint16");
  check(stride >= 1 && stride <= 16 && shuffle >= 1 && shuffle <= 16,
        "stride and shuffle must be in 1..16");
  const cpu::Activation chosen = cpu::activation_of_name(activation);
  Problem p{weights, 0, 0, 0, stride, shuffle, {}, {}, {}, chosen, 0, 0};
  p.x = map_of(static_cast<const std::uint16_t*>(x.data()), x, x);
  p.out = map_of(static_cast<std::uint16_t*>(out.mutable_data()), out, x);
  if (residual) {
    p.residual = map_of(static_cast<const std::uint16_t*>(residual->data()), *residual, x);
  }
  p.batch = size(x, 0);
  p.height = size(x, 1);
  p.width = size(x, 2);
  p.rows_begin = rows_begin;
  p.rows_end = rows_end.value_or(p.rows());
  check(size(x, 3) == weights.inputs, "x has other channels than the weights");
  check(weights.outputs % (shuffle * shuffle) == 0,
        "the outputs must be those of shuffle x shuffle pixels");
  const auto fits = [&](const py::array& map) {
    return size(map, 0) == p.batch && size(map, 1) == p.rows() * shuffle &&
           size(map, 2) == p.columns() * shuffle &&
           size(map, 3) * shuffle * shuffle == weights.outputs;
  };
  check(fits(out) && (!residual || fits(*residual)),
        "out or the residual has another shape than the result");
  const py::gil_scoped_release release;
  compute(p, threads);
}

}  // namespace

void bind(py::module_& module) {
  py::class_<Weights, std::shared_ptr<Weights>>(
      module, "TileConvolution",
      "Weights and bias of a convolution by tiles; for tests of the kernels.")
      .def(py::init(&make), py::arg("weights").noconvert(), py::arg("bias").noconvert())
      .def("run", &run, py::arg("x").noconvert(), py::arg("out").noconvert(), py::kw_only(),
           py::arg("residual").noconvert() = py::none(), py::arg("activation") = "none",
           py::arg("stride") = 1, py::arg("shuffle") = 1, py::arg("threads") = 1,
           py::arg("rows_begin") = 0, py::arg("rows_end") = py::none(),
           "Writes the convolution of x, (batch, rows, columns, channels), to out; shuffle is the "
           "pixels along a side whose channels count as one pixel's. Only rows rows_begin to "
           "rows_end - 1 of the convolution's own output are computed.");
}

}  // namespace lic_fast::tiles
