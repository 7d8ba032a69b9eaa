// The Python face of the operators on rows of channels: arrays in, checked, and out.

#include "channels/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "channels/channels.hpp"
#include "cpu/isa.hpp"

namespace lic_fast::channels {
namespace {

namespace py = pybind11;
using Parameter = std::optional<py::array_t<float, py::array::c_style>>;
using Isa = std::optional<std::string>;

void check(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

/// The distance of two rows, in numbers.
std::size_t stride(const py::array& rows, const py::array& like) {
  check(rows.ndim() == 2 && rows.dtype().is(like.dtype()) && rows.shape(0) == like.shape(0) &&
            rows.shape(1) == like.shape(1),
        "the operands must be (rows, channels), of one shape and one type");
  const py::ssize_t item = rows.itemsize();
  check((rows.shape(1) < 2 || rows.strides(1) == item) && rows.strides(0) >= 0 &&
            rows.strides(0) % item == 0,
        "the channels of a row must lie side by side");
  return static_cast<std::size_t>(rows.strides(0) / item);
}

Problem problem_of(Operation operation, const py::array& x, py::array& out) {
  Problem problem{};
  problem.operation = operation;
  problem.bfloat16 = x.dtype().is(py::dtype::of<std::uint16_t>());
  check(problem.bfloat16 || x.dtype().is(py::dtype::of<float>()),
        "the operands must be float32, or bfloat16 as uint16");
  problem.x = {x.data(), stride(x, x)};
  problem.rows = static_cast<std::size_t>(x.shape(0));
  problem.channels = static_cast<std::size_t>(x.shape(1));
  problem.out_stride = stride(out, x);
  problem.out = out.mutable_data();
  check(problem.rows < 2 || problem.out_stride >= problem.channels, "rows of out overlap");
  return problem;
}

void start(const Problem& problem, unsigned threads, const Isa& isa) {
  const cpu::Isa chosen = isa ? cpu::isa_of_name(*isa) : cpu::default_isa();
  const py::gil_scoped_release release;
  compute(problem, chosen, threads);
}

void bind_norm(py::module_& module) {
  module.def(
      "layer_norm",
      [](const py::array& x, const Parameter& weight, const Parameter& bias, py::array out,
         float epsilon, unsigned threads, const Isa& isa) {
        Problem problem = problem_of(Operation::kLayerNorm, x, out);
        for (const Parameter& parameter : {weight, bias}) {
          check(parameter && parameter->ndim() == 1 && parameter->shape(0) == x.shape(1),
                "weight and bias must be (channels,)");
        }
        problem.weight = weight->data();
        problem.bias = bias->data();
        problem.number = epsilon;
        start(problem, threads, isa);
      },
      py::arg("x").noconvert(), py::arg("weight").noconvert(), py::arg("bias").noconvert(),
      py::arg("out").noconvert(), py::arg("epsilon"), py::arg("threads"),
      py::arg("isa") = py::none(),
      "Layer norm of rows of float32, or of bfloat16 as uint16; see lic_fast.ops.layer_norm.");
}

}  // namespace

void bind(py::module_& module) {
  bind_norm(module);
  module.def(
      "square",
      [](const py::array& x, py::array out, unsigned threads, const Isa& isa) {
        start(problem_of(Operation::kSquare, x, out), threads, isa);
      },
      py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("threads"),
      py::arg("isa") = py::none(), "x x; rows as in layer_norm, see lic_fast.ops.gdn.");
  module.def(
      "root_scaled",
      [](const py::array& x, const py::array& norm, py::array out, bool inverse, unsigned threads,
         const Isa& isa) {
        Problem problem =
            problem_of(inverse ? Operation::kRootTimes : Operation::kRootDivides, x, out);
        problem.y = {norm.data(), stride(norm, x)};
        start(problem, threads, isa);
      },
      py::arg("x").noconvert(), py::arg("norm").noconvert(), py::arg("out").noconvert(),
      py::arg("inverse"), py::arg("threads"), py::arg("isa") = py::none(),
      "x over the root of norm, inverse: times it; rows as in layer_norm, see lic_fast.ops.gdn.");
  module.def(
      "residual_sum",
      [](const py::array& x, const py::array& y, py::array out, float factor, unsigned threads,
         const Isa& isa) {
        Problem problem = problem_of(Operation::kSum, x, out);
        problem.y = {y.data(), stride(y, x)};
        problem.number = factor;
        start(problem, threads, isa);
      },
      py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("out").noconvert(),
      py::arg("factor"), py::arg("threads"), py::arg("isa") = py::none(),
      "x + factor y; rows as in layer_norm, see lic_fast.ops.residual_sum.");
  module.def(
      "gate",
      [](const py::array& x, const py::array& y, const py::array& z, py::array out,
         unsigned threads, const Isa& isa) {
        Problem problem = problem_of(Operation::kGate, x, out);
        problem.y = {y.data(), stride(y, x)};
        problem.z = {z.data(), stride(z, x)};
        start(problem, threads, isa);
      },
      py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("z").noconvert(),
      py::arg("out").noconvert(), py::arg("threads"), py::arg("isa") = py::none(),
      "x sigmoid(y) + z; rows as in layer_norm, see lic_fast.ops.gate.");
  module.def(
      "add_residual",
      [](const py::array& x, const py::array& y, py::array out, unsigned threads, const Isa& isa) {
        Problem problem = problem_of(Operation::kResidual, x, out);
        problem.y = {y.data(), stride(y, x)};
        start(problem, threads, isa);
      },
      py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("out").noconvert(),
      py::arg("threads"), py::arg("isa") = py::none(),
      "x + tanh(y) / 2; rows as in layer_norm, see lic_fast.ops.add_residual.");
}

}  // namespace lic_fast::channels
