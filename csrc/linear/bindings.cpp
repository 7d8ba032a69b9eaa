// The Python face of linear maps of rows: arrays in, checked, and out.

#include "linear/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/isa.hpp"
#include "linear/linear.hpp"

namespace lic_fast::linear {
namespace {

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style>;
using Norm = std::optional<std::pair<Floats, Floats>>;
using Isa = std::optional<std::string>;

void check(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

std::size_t size(const py::array& x, int dimension) {
  return static_cast<std::size_t>(x.shape(dimension));
}

template <class Data>
Rows<Data> rows_of(Data* data, const py::array& x, std::size_t rows, std::size_t channels,
                   const py::dtype& type) {
  check(x.ndim() == 2 && x.dtype().is(type) && size(x, 0) == rows && size(x, 1) == channels,
        "x must be (rows, inputs), out and residual (rows, outputs), all of one type");
  const py::ssize_t item = x.itemsize();
  // Of none, NumPy's strides say nothing.
  check(rows == 0 || ((x.shape(1) < 2 || x.strides(1) == item) && x.strides(0) >= 0 &&
                      x.strides(0) % item == 0),
        "the channels of a row must lie side by side");
  return {data, static_cast<std::size_t>(x.strides(0) / item)};
}

Products products_of_name(const std::string& name) {
  if (name == "floats") return Products::kFloats;
  if (name == "pairs") return Products::kPairs;
  if (name == "words") return Products::kWords;
  check(name == "tiles", "products must be floats, pairs, words or tiles");
  return Products::kTiles;
}

std::shared_ptr<Weights> make(const Floats& weights, const Floats& bias,
                              const std::string& products) {
  check(weights.ndim() == 2 && weights.shape(0) > 0 && weights.shape(1) > 0,
        "weights must be (outputs, inputs), neither of them zero");
  check(bias.ndim() == 1 && bias.shape(0) == weights.shape(0), "bias must be (outputs,)");
  const Products kind = products_of_name(products);
  const py::gil_scoped_release release;
  return std::make_shared<Weights>(weights.data(), bias.data(), size(weights, 0), size(weights, 1),
                                   kind);
}

/// All but what stands before and behind the products.
Problem problem_of(const Weights& first, const Weights* second, const py::array& x,
                   py::array& out) {
  const py::dtype type = x.dtype();
  const bool bfloat16 = type.is(py::dtype::of<std::uint16_t>());
  check(bfloat16 || type.is(py::dtype::of<float>()), "rows must be float32, or bfloat16 as uint16");
  check(x.ndim() == 2, "x must be (rows, inputs)");
  if (second != nullptr) {
    check(second->inputs == first.outputs && second->products == first.products,
          "the second map must take what the first one gives, with products of the same kind");
  }
  check(bfloat16 || first.products == Products::kFloats,
        "pairs, words and tiles are for rows of bfloat16");
  const std::size_t rows = size(x, 0);
  const std::size_t outputs = second != nullptr ? second->outputs : first.outputs;
  Problem p{first, second, bfloat16, rows, {}, {}, {}, {}, {}, {}, {}, {}, 0};
  p.x = rows_of<const void>(x.data(), x, rows, first.inputs, type);
  p.out = rows_of<void>(out.mutable_data(), out, rows, outputs, type);
  check(rows < 2 || p.out.stride >= outputs, "rows of out overlap");
  return p;
}

void start(const Problem& problem, unsigned threads, const Isa& isa) {
  const cpu::Isa chosen = isa ? cpu::isa_of_name(*isa) : cpu::default_isa();
  const py::gil_scoped_release release;
  compute(problem, chosen, threads);
}

void run(const Weights& first, const py::array& x, py::array out, const Weights* second,
         const std::optional<py::array>& residual, const Norm& norm, float epsilon,
         const std::string& activation, unsigned threads, const Isa& isa) {
  Problem p = problem_of(first, second, x, out);
  p.activation = cpu::activation_of_name(activation);
  if (residual) {
    p.residual = rows_of<const void>(residual->data(), *residual, p.rows,
                                     (second != nullptr ? *second : first).outputs, x.dtype());
  }
  if (norm) {
    for (const Floats& parameter : {norm->first, norm->second}) {
      check(parameter.ndim() == 1 && size(parameter, 0) == first.inputs,
            "the norm's weight and bias must be (inputs,)");
    }
    p.before = Before::kNorm;
    p.norm_weight = norm->first.data();
    p.norm_bias = norm->second.data();
    p.epsilon = epsilon;
  }
  start(p, threads, isa);
}

void run_gdn(const Weights& weights, const py::array& x, py::array out, bool inverse,
             unsigned threads, const Isa& isa) {
  check(weights.inputs == weights.outputs, "the norm's weights must be square");
  Problem p = problem_of(weights, nullptr, x, out);
  p.residual = p.x;
  p.before = Before::kSquare;
  p.after = inverse ? After::kTimesRoot : After::kOverRoot;
  start(p, threads, isa);
}

}  // namespace

void bind(py::module_& module) {
  module.def("has_pairs", &has_pairs, "Whether Linear can have products of pairs here.");
  module.def(
      "fast_pairs", [] { return cpu::default_isa() >= cpu::Isa::kAvx512Vnni && fast_pairs(); },
      "Whether it can, and pairs take half the time of as many floats.");
  module.def(
      "multiplies_tiles", [] { return cpu::default_isa() == cpu::Isa::kAmx; },
      "Whether Linear multiplies bfloat16 by tiles of AMX here.");
  py::class_<Weights, std::shared_ptr<Weights>>(
      module, "Linear", "A linear map with its weights packed; for tests of the kernels.")
      .def(py::init(&make), py::arg("weights"), py::arg("bias"), py::arg("products") = "floats")
      .def("run", &run, py::arg("x").noconvert(), py::arg("out").noconvert(), py::kw_only(),
           py::arg("second") = py::none(), py::arg("residual").noconvert() = py::none(),
           py::arg("norm").noconvert() = py::none(), py::arg("epsilon") = 0.0f,
           py::arg("activation") = "none", py::arg("threads") = 1, py::arg("isa") = py::none(),
           "Writes the map of the rows of x to out: activation(norm(x) W^T + b + residual), or "
           "with a second map its map of activation(norm(x) W^T + b), and the residual.")
      .def("run_gdn", &run_gdn, py::arg("x").noconvert(), py::arg("out").noconvert(), py::kw_only(),
           py::arg("inverse"), py::arg("threads") = 1, py::arg("isa") = py::none(),
           "Writes x / sqrt(x^2 W^T + b), inverse: x times that root, to out, which may be x.");
}

}  // namespace lic_fast::linear
