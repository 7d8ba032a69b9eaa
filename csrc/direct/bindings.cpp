// The Python face of direct convolutions: arrays in, checked, and out.

#include "direct/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "direct/convolution.hpp"
#include "python/maps.hpp"

namespace lic_fast::direct {
namespace {

namespace py = pybind11;
using python::check;
using python::map_of;
using python::size;
using Floats = py::array_t<float, py::array::c_style>;

std::shared_ptr<Weights> make(const Floats& weights, const Floats& bias) {
  check(weights.ndim() == 4 && weights.shape(2) == weights.shape(3) && weights.size() > 0 &&
            size(weights, 2) <= kMostTaps,
        "weights must be (outputs, inputs, kernel, kernel), the kernel in 1..16");
  check(bias.ndim() == 1 && bias.shape(0) == weights.shape(0), "bias must be (outputs,)");
  const py::gil_scoped_release release;
  return std::make_shared<Weights>(weights.data(), bias.data(), size(weights, 0), size(weights, 1),
                                   size(weights, 2));
}

void run(const Weights& weights, const py::array& x, py::array out,
         const std::optional<py::array>& residual, const std::string& activation,
         std::size_t stride, std::size_t padding, std::size_t shuffle, unsigned threads,
         const std::optional<std::string>& isa, std::size_t rows_begin,
         std::optional<std::size_t> rows_end) {
  const bool bfloat16 = x.dtype().is(py::dtype::of<std::uint16_t>());
  check(bfloat16 || x.dtype().is(py::dtype::of<float>()),
        "maps must be float32, or bfloat16 as uint16");
  check(stride >= 1 && stride <= kMostTaps && shuffle >= 1 && shuffle <= kMostTaps &&
            padding <= kMostTaps,
        "stride and shuffle must be in 1..16, the padding in 0..16");
  Problem p{weights, bfloat16, 0, 0, 0, stride, padding, shuffle, 0, 0, {}, {}, {}, {}};
  p.activation = cpu::activation_of_name(activation);
  p.x = map_of(x.data(), x, x);
  p.out = map_of(out.mutable_data(), out, x);
  if (residual) p.residual = map_of(residual->data(), *residual, x);
  p.batch = size(x, 0);
  p.height = size(x, 1);
  p.width = size(x, 2);
  check(size(x, 3) == weights.inputs, "x has other channels than the weights");
  check(p.height + 2 * padding >= weights.kernel && p.width + 2 * padding >= weights.kernel,
        "the kernel is larger than the map");
  check(weights.outputs % (shuffle * shuffle) == 0,
        "the outputs must be those of shuffle x shuffle pixels");
  const auto fits = [&](const py::array& map) {
    return size(map, 0) == p.batch && size(map, 1) == p.rows() * shuffle &&
           size(map, 2) == p.columns() * shuffle &&
           size(map, 3) * shuffle * shuffle == weights.outputs;
  };
  check(fits(out) && (!residual || fits(*residual)),
        "out or the residual has another shape than the result");
  p.rows_begin = rows_begin;
  p.rows_end = rows_end.value_or(p.rows());
  check(p.rows_begin <= p.rows_end && p.rows_end <= p.rows(), "there are no such rows");
  const cpu::Isa chosen = isa ? cpu::isa_of_name(*isa) : cpu::default_isa();
  const py::gil_scoped_release release;
  compute(p, chosen, threads);
}

}  // namespace

void bind(py::module_& module) {
  py::class_<Weights, std::shared_ptr<Weights>>(module, "DirectConvolution",
                                                "Weights and bias of a direct convolution.")
      .def(py::init(&make), py::arg("weights").noconvert(), py::arg("bias").noconvert())
      .def("run", &run, py::arg("x").noconvert(), py::arg("out").noconvert(), py::kw_only(),
           py::arg("residual").noconvert() = py::none(), py::arg("activation") = "none",
           py::arg("stride") = 1, py::arg("padding") = 0, py::arg("shuffle") = 1,
           py::arg("threads") = 1, py::arg("isa") = py::none(), py::arg("rows_begin") = 0,
           py::arg("rows_end") = py::none(),
           "Writes the convolution of x, (batch, rows, columns, channels), to out; shuffle is the "
           "pixels along a side whose channels count as one pixel's. Only rows rows_begin to "
           "rows_end - 1 of the convolution's own output are computed, all by default.");
}

}  // namespace lic_fast::direct
