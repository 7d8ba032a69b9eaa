// The Python face of the latents' quantisation: arrays of any strides in, dense ones out.

#include "latents/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/isa.hpp"
#include "latents/kernels.hpp"
#include "latents/layout.hpp"
#include "latents/scale_search.hpp"

namespace lic_fast::latents {
namespace {

namespace py = pybind11;
using Floats = py::array_t<float, 0>;
template <class T>
using Dense = py::array_t<T, py::array::c_style>;
using Isa = std::optional<std::string>;

std::vector<std::size_t> shape_of(const py::array& array) {
  return std::vector<std::size_t>(array.shape(), array.shape() + array.ndim());
}

void check_shape(const py::array& array, const std::vector<std::size_t>& shape, const char* name) {
  if (shape_of(array) != shape) {
    throw std::invalid_argument(std::string(name) + " has another shape than the others");
  }
}

Strided strided(const Floats& array) {
  Strided out{array.data(), {}};
  for (py::ssize_t d = 0; d < array.ndim(); ++d) {
    if (array.strides(d) % static_cast<py::ssize_t>(sizeof(float)) != 0) {
      throw std::invalid_argument("an array's strides are no multiples of its elements' size");
    }
    out.strides.push_back(array.strides(d) / static_cast<py::ssize_t>(sizeof(float)));
  }
  return out;
}

const Kernels& kernels_of(const Isa& isa) {
  return kernels(isa ? cpu::isa_of_name(*isa) : cpu::default_isa());
}

bool quantize(const Floats& y, const Floats& mean, const Floats& scale, const ScaleSearch& search,
              Dense<std::int16_t>& symbols, Dense<std::uint8_t>& indexes, Dense<float>& y_hat,
              unsigned threads, const Isa& isa) {
  const std::vector<std::size_t> shape = shape_of(y);
  check_shape(mean, shape, "mean");
  check_shape(scale, shape, "scale");
  check_shape(symbols, shape, "symbols");
  check_shape(indexes, shape, "indexes");
  check_shape(y_hat, shape, "y_hat");
  const Kernels& use = kernels_of(isa);
  const Runs runs(shape, {strided(y), strided(mean), strided(scale)});
  std::int16_t* to_symbols = symbols.mutable_data();
  std::uint8_t* to_indexes = indexes.mutable_data();
  float* to_y_hat = y_hat.mutable_data();
  std::atomic<bool> narrow{true};
  {
    const py::gil_scoped_release release;
    runs.each(threads, [&](std::size_t at, std::size_t count, const float* const* inputs) {
      if (!use.quantize(inputs[0], inputs[1], count, to_symbols + at, to_y_hat + at)) {
        narrow.store(false, std::memory_order_relaxed);
      }
      use.find(search, inputs[2], count, to_indexes + at);
    });
  }
  return narrow;
}

void find(const Floats& scale, const ScaleSearch& search, Dense<std::uint8_t>& indexes,
          unsigned threads, const Isa& isa) {
  check_shape(indexes, shape_of(scale), "indexes");
  const Kernels& use = kernels_of(isa);
  const Runs runs(shape_of(scale), {strided(scale)});
  std::uint8_t* to = indexes.mutable_data();
  const py::gil_scoped_release release;
  runs.each(threads, [&](std::size_t at, std::size_t count, const float* const* inputs) {
    use.find(search, inputs[0], count, to + at);
  });
}

template <class Symbol>
void dequantize(const Dense<Symbol>& symbols, const Floats& mean, Dense<float>& y_hat,
                unsigned threads) {
  check_shape(symbols, shape_of(mean), "symbols");
  check_shape(y_hat, shape_of(mean), "y_hat");
  const Runs runs(shape_of(mean), {strided(mean)});
  const Symbol* from = symbols.data();
  float* to = y_hat.mutable_data();
  const py::gil_scoped_release release;
  runs.each(threads, [&](std::size_t at, std::size_t count, const float* const* inputs) {
    for (std::size_t i = 0; i < count; ++i) {
      to[at + i] = static_cast<float>(from[at + i]) + inputs[0][i];
    }
  });
}

}  // namespace

void bind(py::module_& module) {
  py::class_<ScaleSearch>(module, "ScaleSearch", "A scale table, prepared for scale_index.")
      .def(py::init([](const Dense<float>& table) {
             return ScaleSearch(table.data(), static_cast<std::size_t>(table.size()));
           }),
           py::arg("table").noconvert());
  module.def("quantize", &quantize, py::arg("y").noconvert(), py::arg("mean").noconvert(),
             py::arg("scale").noconvert(), py::arg("search"), py::arg("symbols").noconvert(),
             py::arg("indexes").noconvert(), py::arg("y_hat").noconvert(), py::arg("threads"),
             py::arg("isa") = py::none(),
             "lic_fast.ops.quantize; False if a symbol does not fit int16.");
  module.def("scale_index", &find, py::arg("scale").noconvert(), py::arg("search"),
             py::arg("indexes").noconvert(), py::arg("threads"), py::arg("isa") = py::none(),
             "lic_fast.ops.scale_index.");
  const char* text = "lic_fast.ops.dequantize.";
  module.def("dequantize", &dequantize<std::int16_t>, py::arg("symbols").noconvert(),
             py::arg("mean").noconvert(), py::arg("y_hat").noconvert(), py::arg("threads"), text);
  module.def("dequantize", &dequantize<std::int32_t>, py::arg("symbols").noconvert(),
             py::arg("mean").noconvert(), py::arg("y_hat").noconvert(), py::arg("threads"), text);
}

}  // namespace lic_fast::latents
