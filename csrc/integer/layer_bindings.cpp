// The Python face of integer layers and networks.

#include <pybind11/stl.h>

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "integer/arrays.hpp"
#include "integer/bindings.hpp"
#include "integer/layer.hpp"

namespace lic_fast::integer {
namespace {

using Quantizer = std::tuple<Dense<float>, Dense<std::int32_t>, int>;
using IsaName = std::optional<std::string>;
using Arrays = std::vector<py::array>;

Activation activation_of(const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "relu") return Activation::kRelu;
  if (name == "leaky_relu") return Activation::kLeakyRelu;
  if (name == "gelu") return Activation::kGelu;
  throw std::invalid_argument("activation must be one of none, relu, leaky_relu, gelu, not '" +
                              name + "'");
}

std::shared_ptr<Layer> make_layer(const Dense<std::int8_t>& weight, const Dense<std::int32_t>& bias,
                                  const Dense<float>& scale,
                                  const std::vector<Dense<std::uint8_t>>& border,
                                  std::size_t stride, std::size_t groups,
                                  const std::string& activation,
                                  const std::optional<Quantizer>& output) {
  check(weight.ndim() == 4 && weight.shape(2) == weight.shape(3) && weight.shape(2) % 2 == 1,
        "weight must be (M, N / groups, k, k) with an odd k");
  check(groups > 0 && weight.size() > 0 && size(weight, 0) % groups == 0,
        "the output channels do not divide into the groups");
  const std::size_t channels = size(weight, 0);
  const auto vector = [](const py::array& array, std::size_t length, const char* name) {
    check(array.ndim() == 1 && size(array, 0) == length,
          std::string(name) + " must be (" + std::to_string(length) + ",)");
  };
  Parameters parameters{weight.data(),
                        channels,
                        size(weight, 1) * groups,
                        groups,
                        size(weight, 2),
                        stride,
                        bias.data(),
                        scale.data(),
                        {},
                        activation_of(activation),
                        0,
                        nullptr,
                        nullptr};
  vector(bias, channels, "bias");
  vector(scale, channels, "scale");
  for (const auto& half : border) {
    vector(half, parameters.in_channels, "a border");
    parameters.border.push_back(half.data());
  }
  if (output) {
    const auto& [inverse_step, zero, bits] = *output;
    vector(inverse_step, channels, "inverse_step");
    vector(zero, channels, "zero");
    check(bits == kHalfBits || bits == 2 * kHalfBits, "an activation has 7 or 14 bits");
    parameters.bits = bits;
    parameters.inverse_step = inverse_step.data();
    parameters.zero = zero.data();
  }
  return std::make_shared<Layer>(parameters);
}

/// The maps that `layer` reads.
Input input_of(const Layer& layer, Arrays& x) {
  check(x.size() == layer.halves(), "there must be a map for each border, " +
                                        std::to_string(layer.halves()) + ", not " +
                                        std::to_string(x.size()));
  Shape shape = shape_of(x[0], "x");
  shape.channels = layer.weights().in_channels;
  Input input{{}, shape.batch, shape.height, shape.width};
  for (std::size_t half = 0; half < x.size(); ++half) {
    input.x[half] = view_of<const std::uint8_t>(x[half], shape, "x");
  }
  return input;
}

/// Where a layer writes: what is given, or new.
struct Destination {
  Destination(const Layer& layer, const Shape& shape, const py::object& given) {
    const std::size_t halves = layer.end().halves();
    if (!given.is_none()) {
      result = given;
      if (halves == 0) {
        add(given);
      } else {
        if (!py::isinstance<py::sequence>(given)) throw py::type_error("out must be a list");
        for (const py::handle array : given) add(array);
      }
      check(arrays.size() == std::max<std::size_t>(halves, 1),
            "out must have " + std::to_string(halves) + " maps");
    } else if (halves == 0) {
      arrays.push_back(fresh<float>(shape));
      result = arrays[0];
    } else {
      for (std::size_t half = 0; half < halves; ++half) {
        arrays.push_back(fresh<std::uint8_t>(shape));
      }
      result = py::cast(arrays);
    }
    if (halves == 0) output.values = view_of<float>(arrays[0], shape, "out");
    for (std::size_t half = 0; half < halves; ++half) {
      output.halves[half] = view_of<std::uint8_t>(arrays[half], shape, "out");
    }
    if (halves == 2) check_apart(arrays[0], arrays[1], "itself");
  }

  void add(const py::handle& array) {
    if (!py::isinstance<py::array>(array)) throw py::type_error("out must be an array");
    arrays.push_back(py::reinterpret_borrow<py::array>(array));
  }

  template <class T>
  static py::array fresh(const Shape& shape) {
    return py::array_t<T>(
        std::vector<std::size_t>{shape.batch, shape.height, shape.width, shape.channels});
  }

  void check_apart_from(const Arrays& operands, const char* name) const {
    for (const py::array& array : arrays) {
      for (const py::array& operand : operands) check_apart(array, operand, name);
    }
  }

  Output output;
  Arrays arrays;
  py::object result;
};

/// What is added to the sums, which may be what is written.
View<const float> residual_of(std::optional<py::array>& residual, const Shape& shape,
                              const Destination& to) {
  if (!residual) return {};
  const auto view = view_of<const float>(*residual, shape, "residual");
  if (!same(to.arrays[0], *residual)) to.check_apart_from({*residual}, "residual");
  return view;
}

py::object run_layer(const Layer& layer, Arrays x, std::optional<py::array> residual,
                     unsigned threads, const IsaName& isa, const py::object& out) {
  const Input input = input_of(layer, x);
  const Shape shape{input.batch, layer.out_size(input.height), layer.out_size(input.width),
                    layer.weights().out_channels};
  const Destination to(layer, shape, out);
  to.check_apart_from(x, "x");
  const View<const float> added = residual_of(residual, shape, to);
  const cpu::Isa chosen = isa_of(isa);
  if (to.arrays[0].size() != 0) {
    const py::gil_scoped_release release;
    layer.run(input, added, to.output, chosen, threads);
  }
  return to.result;
}

py::object run_network(const Network& network, Arrays x, unsigned threads, const IsaName& isa,
                       const py::object& out, std::optional<py::array> residual) {
  const Input input = input_of(network.first(), x);
  const Shape shape{input.batch, network.out_size(input.height), network.out_size(input.width),
                    network.last().weights().out_channels};
  const Destination to(network.last(), shape, out);
  to.check_apart_from(x, "x");
  const View<const float> added = residual_of(residual, shape, to);
  const cpu::Isa chosen = isa_of(isa);
  if (to.arrays[0].size() != 0) {
    const py::gil_scoped_release release;
    network.run(input, added, to.output, chosen, threads);
  }
  return to.result;
}

}  // namespace

void bind_layers(py::module_& module) {
  py::class_<Layer, std::shared_ptr<Layer>>(module, "IntegerLayer",
                                            "A layer, packed; see lic_fast.ops.integer_layer.")
      .def(py::init(&make_layer), py::arg("weight").noconvert(), py::arg("bias").noconvert(),
           py::arg("scale").noconvert(), py::arg("border").noconvert(), py::arg("stride"),
           py::arg("groups"), py::arg("activation"), py::arg("output").noconvert())
      .def_property_readonly(
          "tile_sides", [](const Layer& layer) { return layer.weights().tile_sides(); },
          "Sides of the tiles by which Winograd's algorithm has computed a convolution: 2, 4, both "
          "or none.")
      .def("run", &run_layer, py::arg("x"), py::arg("residual"), py::arg("threads"),
           py::arg("isa") = py::none(), py::arg("out") = py::none(),
           "Maps are (B, H, W, N) arrays, or some of the channels of larger ones.");
  py::class_<Network, std::shared_ptr<Network>>(
      module, "IntegerNetwork", "Layers one after another; see lic_fast.ops.integer_network.")
      .def(py::init([](const std::vector<std::shared_ptr<Layer>>& layers) {
             return std::make_shared<Network>(
                 std::vector<std::shared_ptr<const Layer>>(layers.begin(), layers.end()));
           }),
           py::arg("layers"))
      .def("run", &run_network, py::arg("x"), py::arg("threads"), py::arg("isa") = py::none(),
           py::arg("out") = py::none(), py::arg("residual") = py::none(),
           "Maps are (B, H, W, N) arrays, or some of the channels of larger ones.");
}

}  // namespace lic_fast::integer
