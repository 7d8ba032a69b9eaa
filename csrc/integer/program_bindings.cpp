// The Python face of programs of integer layers.

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "integer/arrays.hpp"
#include "integer/bindings.hpp"
#include "integer/program.hpp"

namespace lic_fast::integer {
namespace {

using Maybe = std::optional<MapId>;
using Arrays = std::vector<py::array>;
using SharedQuantizer = std::shared_ptr<Quantizer>;
/// A program, and a list of arrays for each of its inputs and outputs.
using PythonCall = std::tuple<std::shared_ptr<Program>, std::vector<Arrays>, std::vector<Arrays>>;

MapId id_of(const Maybe& id) { return id.value_or(kNoMap); }

std::vector<float> values_of(const Dense<float>& array) {
  return {array.data(), array.data() + array.size()};
}

SharedQuantizer make_quantizer(const Dense<float>& inverse_step, const Dense<std::int32_t>& zero,
                               int bits) {
  check(inverse_step.ndim() == 1 && zero.ndim() == 1 && inverse_step.size() == zero.size(),
        "inverse_step and zero must be (N,)");
  check(bits == kHalfBits || bits == 2 * kHalfBits, "an activation has 7 or 14 bits");
  for (py::ssize_t i = 0; i < zero.size(); ++i) {
    check(zero.data()[i] >= 0 && zero.data()[i] < 1 << bits, "a zero must be in 0..2^bits - 1");
  }
  return std::make_shared<Quantizer>(inverse_step.data(), zero.data(), size(zero, 0), bits);
}

Element element_of(const std::string& name) {
  if (name == "add") return Element::kSum;
  if (name == "square") return Element::kSquare;
  if (name == "times_root") return Element::kTimesRoot;
  if (name == "over_root") return Element::kOverRoot;
  throw std::invalid_argument("an element is one of add, square, times_root and over_root, not '" +
                              name + "'");
}

using PythonMap = std::tuple<std::size_t, std::size_t, std::size_t, Maybe, std::size_t>;

std::shared_ptr<Program> make_program(const std::vector<PythonMap>& maps, std::vector<Step> steps,
                                      std::vector<MapId> inputs, std::vector<MapId> outputs) {
  check(!inputs.empty() && !outputs.empty(), "a program has inputs and outputs");
  std::vector<MapKind> kinds;
  for (const auto& [channels, halves, scale, base, first] : maps) {
    kinds.push_back({channels, halves, scale, id_of(base), first});
  }
  return std::make_shared<Program>(std::move(kinds), std::move(steps), std::move(inputs),
                                   std::move(outputs));
}

/// Where the maps `ids` are, of the inputs' `shape` but for the channels and the scale.
std::vector<Place> places_of(const Program& program, const std::vector<MapId>& ids,
                             std::vector<Arrays>& given, const Shape& inputs, const char* name) {
  check(given.size() == ids.size(),
        std::string("there must be ") + std::to_string(ids.size()) + " maps of " + name);
  std::vector<Place> places(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const MapKind& map = program.map(ids[i]);
    Arrays& arrays = given[i];
    check(arrays.size() == std::max<std::size_t>(map.halves, 1),
          std::string(name) + " has another number of halves");
    const Shape shape{inputs.batch, inputs.height * map.scale, inputs.width * map.scale,
                      map.channels};
    if (map.halves == 0) places[i].values = view_of<float>(arrays[0], shape, name);
    for (std::size_t half = 0; half < map.halves; ++half) {
      places[i].halves[half] = view_of<std::uint8_t>(arrays[half], shape, name);
    }
  }
  return places;
}

void run_programs(std::vector<PythonCall> calls, unsigned threads,
                  const std::optional<std::string>& isa) {
  std::vector<Call> made;
  Arrays read, written;
  for (auto& [program, inputs, outputs] : calls) {
    check(program != nullptr, "None is no program");
    check(!inputs.empty() && !inputs[0].empty(), "a program has inputs");
    const Shape shape = shape_of(inputs[0][0], "x");
    made.push_back({program.get(), shape.batch, shape.height, shape.width,
                    places_of(*program, program->inputs(), inputs, shape, "x"),
                    places_of(*program, program->outputs(), outputs, shape, "out")});
    for (const Arrays& arrays : inputs) read.insert(read.end(), arrays.begin(), arrays.end());
    for (const Arrays& arrays : outputs) {
      written.insert(written.end(), arrays.begin(), arrays.end());
    }
  }
  for (std::size_t i = 0; i < written.size(); ++i) {
    for (const py::array& array : read) check_apart(written[i], array, "x");
    for (std::size_t j = 0; j < i; ++j) check_apart(written[i], written[j], "another");
  }
  const cpu::Isa chosen = isa_of(isa);
  const py::gil_scoped_release release;
  run_side_by_side(made, chosen, threads);
}

}  // namespace

void bind_programs(py::module_& module) {
  py::class_<Quantizer, SharedQuantizer>(module, "IntegerQuantizer")
      .def(py::init(&make_quantizer), py::arg("inverse_step").noconvert(),
           py::arg("zero").noconvert(), py::arg("bits"));
  py::class_<LayersStep>(module, "LayersStep")
      .def(py::init([](const std::shared_ptr<Network>& network, MapId x, const Maybe& residual,
                       const Maybe& values, const Maybe& activations) {
             return LayersStep{network, x, id_of(residual), id_of(values), id_of(activations)};
           }),
           py::arg("network"), py::arg("x"), py::arg("residual"), py::arg("values"),
           py::arg("activations"));
  py::class_<SubpixelStep>(module, "SubpixelStep")
      .def(py::init([](const std::vector<std::shared_ptr<Network>>& phases, MapId x,
                       const Maybe& values, const Maybe& activations) {
             return SubpixelStep{
                 {phases.begin(), phases.end()}, x, id_of(values), id_of(activations)};
           }),
           py::arg("phases"), py::arg("x"), py::arg("values"), py::arg("activations"));
  py::class_<QuantizeStep>(module, "QuantizeStep")
      .def(py::init([](const SharedQuantizer& quantizer, MapId x, MapId activations) {
             return QuantizeStep{quantizer, x, activations};
           }),
           py::arg("quantizer"), py::arg("x"), py::arg("activations"));
  py::class_<NormStep>(module, "NormStep")
      .def(
          py::init([](const Dense<float>& weight, const Dense<float>& bias, float inverse_step,
                      float epsilon, const SharedQuantizer& quantizer, MapId x, MapId activations) {
            return NormStep{values_of(weight), values_of(bias), inverse_step, epsilon, quantizer, x,
                            activations};
          }),
          py::arg("weight").noconvert(), py::arg("bias").noconvert(), py::arg("inverse_step"),
          py::arg("epsilon"), py::arg("quantizer"), py::arg("x"), py::arg("activations"));
  py::class_<AttentionStep>(module, "AttentionStep")
      .def(py::init([](const Dense<float>& inverse_step, const Dense<float>& scale,
                       const Dense<float>& bias, const Dense<float>& value_step, std::size_t window,
                       std::size_t shift, const SharedQuantizer& quantizer, MapId x,
                       MapId activations) {
             return AttentionStep{values_of(inverse_step),
                                  values_of(scale),
                                  values_of(bias),
                                  values_of(value_step),
                                  window,
                                  shift,
                                  quantizer,
                                  x,
                                  activations};
           }),
           py::arg("inverse_step").noconvert(), py::arg("scale").noconvert(),
           py::arg("bias").noconvert(), py::arg("value_step").noconvert(), py::arg("window"),
           py::arg("shift"), py::arg("quantizer"), py::arg("x"), py::arg("activations"));
  py::class_<GateStep>(module, "GateStep")
      .def(py::init([](const SharedQuantizer& quantizer, MapId x, MapId gate, MapId residual,
                       MapId activations) {
             return GateStep{quantizer, x, gate, residual, activations};
           }),
           py::arg("quantizer"), py::arg("x"), py::arg("gate"), py::arg("residual"),
           py::arg("activations"));
  py::class_<ElementStep>(module, "ElementStep")
      .def(py::init([](const std::string& element, const SharedQuantizer& quantizer, MapId x,
                       const Maybe& y, const Maybe& values, const Maybe& activations) {
             return ElementStep{element_of(element), quantizer,         x, id_of(y),
                                id_of(values),       id_of(activations)};
           }),
           py::arg("element"), py::arg("quantizer"), py::arg("x"), py::arg("y"), py::arg("values"),
           py::arg("activations"));
  py::class_<Program, std::shared_ptr<Program>>(module, "IntegerProgram",
                                                "Steps on maps; see lic_fast.ops.integer_program.")
      .def(py::init(&make_program), py::arg("maps"), py::arg("steps"), py::arg("inputs"),
           py::arg("outputs"));
  module.def("run_integer_programs", &run_programs, py::arg("calls"), py::arg("threads"),
             py::arg("isa") = py::none(),
             "Programs side by side; maps are (B, H, W, N) arrays, or some of the channels of "
             "larger ones.");
}

}  // namespace lic_fast::integer
