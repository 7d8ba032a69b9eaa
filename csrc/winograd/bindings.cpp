// The Python face of the convolutions by minimal filtering: arrays in, checked, and out.

#include "winograd/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "cpu/isa.hpp"
#include "python/maps.hpp"
#include "winograd/winograd.hpp"

namespace lic_fast::winograd {
namespace {

namespace py = pybind11;
using python::check;
using python::map_of;
using python::size;
using Floats = py::array_t<float, py::array::c_style>;

std::shared_ptr<Weights> make(const Floats& weights, bool transformed, unsigned threads,
                              bool words) {
  check(weights.ndim() == 4 && weights.shape(2) == weights.shape(3) &&
            (weights.shape(2) == 3 || weights.shape(2) == 5),
        "weights must be (outputs, inputs, 3, 3) or (outputs, inputs, 5, 5)");
  check(weights.shape(0) > 0 && weights.shape(1) > 0 && size(weights, 1) % kPanel == 0,
        "inputs must be a multiple of 16");
  const py::gil_scoped_release release;
  return std::make_shared<Weights>(weights.data(), size(weights, 0), size(weights, 1),
                                   size(weights, 2), transformed,
                                   words ? Products::kWords : Products::kFloats, threads);
}

void run(const Weights& weights, const py::array& x, const Floats& bias, py::array out,
         const std::optional<py::array>& residual, const std::string& activation,
         std::size_t phases, std::size_t shuffle, unsigned threads,
         const std::optional<std::string>& isa, std::size_t rows_begin,
         std::optional<std::size_t> rows_end) {
  const bool bfloat16 = x.dtype().is(py::dtype::of<std::uint16_t>());
  check(bfloat16 || x.dtype().is(py::dtype::of<float>()),
        "maps must be float32, or bfloat16 as uint16");
  check(bfloat16 || weights.products == Products::kFloats, "words are for maps of bfloat16");
  check(phases >= 1 && phases <= 16 && shuffle >= 1 && shuffle <= 16,
        "phases and shuffle must be in 1..16");
  Problem p{weights, bias.data(), bfloat16, 0, 0, 0, phases, shuffle, {}, {}, {}, {}, 0, 0};
  p.x = map_of<const void>(x.data(), x, x);
  p.out = map_of<void>(out.mutable_data(), out, x);
  if (residual) p.residual = map_of<const void>(residual->data(), *residual, x);
  p.batch = size(x, 0);
  p.height = size(x, 1) / phases;
  p.width = size(x, 2) / phases;
  p.rows_begin = rows_begin;
  p.rows_end = rows_end.value_or(p.height);
  check(size(x, 1) % phases == 0 && size(x, 2) % phases == 0,
        "rows and columns must be multiples of the phases");
  check(size(x, 3) % kPanel == 0 && size(x, 3) * phases * phases == weights.in_channels,
        "x has other channels than the weights, or such as are no multiple of 16");
  check(bias.ndim() == 1 && size(bias, 0) == weights.out_channels, "bias must be (outputs,)");
  check(weights.out_channels % (shuffle * shuffle) == 0,
        "the outputs must be those of shuffle x shuffle pixels");
  const auto fits = [&](const py::array& map) {
    return size(map, 0) == p.batch && size(map, 1) == p.height * shuffle &&
           size(map, 2) == p.width * shuffle &&
           size(map, 3) * shuffle * shuffle == weights.out_channels;
  };
  check(fits(out) && (!residual || fits(*residual)),
        "out or the residual has another shape than the result");
  p.activation = cpu::activation_of_name(activation);
  const cpu::Isa chosen = isa ? cpu::isa_of_name(*isa) : cpu::default_isa();
  const py::gil_scoped_release release;
  compute(p, chosen, threads);
}

}  // namespace

void bind(py::module_& module) {
  module.def(
      "multiplies_words", [] { return cpu::multiplies_words(cpu::default_isa()); },
      "Whether Winograd and Linear can have products of words of 16 bits, and gain by it.");
  py::class_<Weights, std::shared_ptr<Weights>>(
      module, "Winograd",
      "Weights of a convolution by minimal filtering, transformed; for tests of the kernels.")
      .def(py::init(&make), py::arg("weights"), py::arg("transformed"), py::arg("threads"),
           py::arg("words") = false)
      .def("run", &run, py::arg("x").noconvert(), py::arg("bias").noconvert(),
           py::arg("out").noconvert(), py::kw_only(), py::arg("residual").noconvert() = py::none(),
           py::arg("activation") = "none", py::arg("phases") = 1, py::arg("shuffle") = 1,
           py::arg("threads") = 1, py::arg("isa") = py::none(), py::arg("rows_begin") = 0,
           py::arg("rows_end") = py::none(),
           "Writes the convolution of x, (batch, rows, columns, channels), to out; phases and "
           "shuffle are the pixels along a side whose channels count as one pixel's. "
           "Only rows rows_begin to rows_end - 1 of the convolution's own output are computed, "
           "which are whole tiles, of 4 rows for 3x3 weights and of 2 for 5x5, or end where it "
           "does.");
}

}  // namespace lic_fast::winograd
