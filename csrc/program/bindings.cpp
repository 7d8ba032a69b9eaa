// The Python face of programs: weights in, checked and kept.

#include "program/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/activation.hpp"
#include "cpu/isa.hpp"
#include "program/attention.hpp"
#include "program/call.hpp"
#include "program/convolution.hpp"
#include "program/graph.hpp"
#include "program/nodes.hpp"
#include "program/program.hpp"

namespace lic_fast::program {
namespace {

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style>;
using Residual = std::optional<MapId>;
using NormArrays = std::optional<std::tuple<Floats, Floats, float>>;

void check(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

std::size_t size(const py::array& x, int dimension) {
  return static_cast<std::size_t>(x.shape(dimension));
}

std::string shape_of(const py::array& x) { return py::str(x.attr("shape")).cast<std::string>(); }

/// A program, and the arrays that its nodes read.
struct Kept : Callable {
  std::vector<py::object> arrays;
};

class ProgramBuilder {
 public:
  ProgramBuilder(bool bfloat16, bool compact) : builder_(bfloat16), compact_(compact) {}

  MapId input(std::size_t channels) {
    const MapId x = builder_.input(channels);
    pixel_inputs_.push_back(false);
    return x;
  }
  MapId pixels() {
    const MapId x = builder_.input(kColours);
    pixel_inputs_.push_back(true);
    return x;
  }

  MapId conv2d(MapId x, const Floats& weight, const std::optional<Floats>& bias, std::size_t stride,
               std::size_t padding, const std::string& activation, const Residual& residual,
               std::size_t shuffle) {
    check_shape(weight, 4, "the weight must be (outputs, inputs, kernel, kernel)");
    check(weight.shape(2) == weight.shape(3), "the kernel must be square, not " + shape_of(weight));
    check_channels(x, size(weight, 1), "x");
    const std::size_t outputs = size(weight, 0);
    const Convolution convolution{keep(weight),
                                  bias_of(bias, outputs),
                                  outputs,
                                  size(weight, 1),
                                  size(weight, 2),
                                  stride,
                                  padding,
                                  shuffle,
                                  cpu::activation_of_name(activation),
                                  residual.has_value(),
                                  compact_};
    auto node = make_convolution(convolution);  // checks shuffle
    return add(std::move(node), {x}, outputs / (shuffle * shuffle), residual);
  }

  MapId linear(MapId x, const Floats& weight, const std::optional<Floats>& bias,
               const std::string& activation, const Residual& residual, const NormArrays& norm) {
    Linear map = linear_of(x, weight, bias, activation, norm);
    return add(make_linear(map), {x}, map.outputs, residual);
  }

  MapId feed_forward(MapId x, const NormArrays& norm, const Floats& w1,
                     const std::optional<Floats>& b1, const std::string& activation,
                     const Floats& w2, const std::optional<Floats>& b2, const Residual& residual) {
    const Linear first = linear_of(x, w1, b1, activation, norm);
    check_shape(w2, 2, "w2 must be (outputs, hidden)");
    check(size(w2, 1) == first.outputs, "w2 is " + shape_of(w2) + "; it must take the " +
                                            std::to_string(first.outputs) + " outputs of w1");
    const FeedForward halves{first, keep(w2), bias_of(b2, size(w2, 0)), size(w2, 0)};
    return add(make_feed_forward(halves), {x}, halves.outputs, residual);
  }

  MapId gdn(MapId x, const Floats& gamma, const Floats& beta, bool inverse) {
    const std::size_t channels = builder_.channels(x);
    check(gamma.ndim() == 2 && size(gamma, 0) == channels && size(gamma, 1) == channels,
          "gamma is " + shape_of(gamma) + "; x has " + std::to_string(channels) + " channels");
    auto node = make_gdn(keep(gamma), parameter(beta, channels, "beta"), channels, inverse);
    return builder_.add(std::move(node), {x}, channels);
  }

  MapId window_attention(MapId qkv, const Floats& table, const std::optional<Floats>& pad_value,
                         std::size_t window, std::size_t shift, float scale, float mask_value) {
    check_shape(table, 2, "the table must be ((2 window - 1)^2, heads)");
    const std::size_t heads = size(table, 1), channels = builder_.channels(qkv);
    check(window > 0 && window <= 1024 && size(table, 0) == (2 * window - 1) * (2 * window - 1),
          "the table is " + shape_of(table) + "; it does not fit a window of " +
              std::to_string(window));
    check(channels % (3 * heads) == 0, std::to_string(channels) + " channels are not three of " +
                                           std::to_string(heads) + " heads each");
    const float* const pad = pad_value ? parameter(*pad_value, channels, "pad_value") : nullptr;
    auto node = make_window_attention(
        {keep(table), pad, channels / 3, heads, window, shift, scale, mask_value});
    return builder_.add(std::move(node), {qkv}, channels / 3);
  }

  MapId layer_norm(MapId x, const Floats& weight, const Floats& bias, float epsilon) {
    const std::size_t channels = builder_.channels(x);
    const Norm norm{parameter(weight, channels, "the norm's weight"),
                    parameter(bias, channels, "the norm's bias"), epsilon};
    return builder_.add(make_layer_norm(norm), {x}, channels);
  }

  MapId unary(MapId x, const std::string& kind, float number) {
    return builder_.add(make_unary(kind, number), {x}, builder_.channels(x));
  }

  MapId binary(MapId x, MapId y, const std::string& kind, float number) {
    check_channels(y, builder_.channels(x), "y");
    return builder_.add(make_binary(kind, number), {x, y}, builder_.channels(x));
  }

  MapId gate(MapId values, MapId logits, MapId skip) {
    check_channels(logits, builder_.channels(values), "logits");
    check_channels(skip, builder_.channels(values), "skip");
    return builder_.add(make_gate(), {values, logits, skip}, builder_.channels(values));
  }

  MapId space_to_depth(MapId x, std::size_t r, const std::string& order) {
    check(order == "rows_first" || order == "columns_first",
          "the order must be rows_first or columns_first, not '" + order + "'");
    auto node = make_space_to_depth(r, order == "columns_first");
    return builder_.add(std::move(node), {x}, builder_.channels(x) * r * r);
  }

  MapId depth_to_space(MapId x, std::size_t r) {
    auto node = make_depth_to_space(r);
    const std::size_t channels = builder_.channels(x);
    check(channels % (r * r) == 0, std::to_string(channels) + " channels are not of " +
                                       std::to_string(r) + " x " + std::to_string(r) + " pixels");
    return builder_.add(std::move(node), {x}, channels / (r * r));
  }

  MapId split(MapId x, std::size_t first, std::size_t count) {
    return builder_.split(x, first, count);
  }
  MapId concat(const std::vector<MapId>& parts) { return builder_.concat(parts); }

  std::unique_ptr<Kept> build(const std::vector<MapId>& outputs, bool pixels) {
    for (std::size_t i = 0; pixels && i < outputs.size(); ++i) {
      check_channels(outputs[i], kColours, "output " + std::to_string(i));
    }
    return std::unique_ptr<Kept>(new Kept{
        {Program(builder_.build(outputs)), std::move(pixel_inputs_), pixels}, std::move(arrays_)});
  }

 private:
  MapId add(std::unique_ptr<Node> node, std::vector<MapId> inputs, std::size_t channels,
            const Residual& residual) {
    if (residual) {
      check_channels(*residual, channels, "the residual");
      inputs.push_back(*residual);
    }
    return builder_.add(std::move(node), std::move(inputs), channels);
  }

  void check_channels(MapId x, std::size_t channels, const std::string& name) const {
    check(builder_.channels(x) == channels, name + " has " + std::to_string(builder_.channels(x)) +
                                                " channels; it must have " +
                                                std::to_string(channels));
  }

  static void check_shape(const py::array& x, int dimensions, const std::string& message) {
    check(x.ndim() == dimensions && x.size() > 0, message + ", not " + shape_of(x));
  }

  const float* keep(const Floats& x) {
    arrays_.push_back(x);
    return x.data();
  }
  const float* parameter(const Floats& x, std::size_t channels, const std::string& name) {
    check(x.ndim() == 1 && size(x, 0) == channels,
          name + " is " + shape_of(x) + "; it must be (" + std::to_string(channels) + ",)");
    return keep(x);
  }
  const float* bias_of(const std::optional<Floats>& bias, std::size_t outputs) {
    return bias ? parameter(*bias, outputs, "the bias") : nullptr;
  }

  Linear linear_of(MapId x, const Floats& weight, const std::optional<Floats>& bias,
                   const std::string& activation, const NormArrays& norm) {
    check_shape(weight, 2, "the weight must be (outputs, inputs)");
    check_channels(x, size(weight, 1), "x");
    Linear map{keep(weight),    bias_of(bias, size(weight, 0)),      size(weight, 0),
               size(weight, 1), cpu::activation_of_name(activation), {}};
    if (norm) {
      const auto& [scale, offset, epsilon] = *norm;
      map.norm = {parameter(scale, map.inputs, "the norm's weight"),
                  parameter(offset, map.inputs, "the norm's bias"), epsilon};
    }
    return map;
  }

  Builder builder_;
  bool compact_;
  std::vector<bool> pixel_inputs_;
  std::vector<py::object> arrays_;
};

std::vector<Size> all_of(const Kept& kept, std::size_t height, std::size_t width) {
  return std::vector<Size>(kept.program.graph().inputs.size(), {height, width});
}

using Sides = std::pair<std::size_t, std::size_t>;
using Node3 =
    std::tuple<std::string, std::string, std::tuple<std::size_t, std::size_t, std::size_t>>;

constexpr const char* kRun =
    "Computes the outputs, which are (batch, rows, columns, channels) of float32, or of "
    "uint8 where they are pixels, as the inputs, with any strides. In bands of about "
    "band_rows rows of the first output; 0: as LIC_FAST_BAND_ROWS says, or as seems best.\n"
    "\n"
    "The padding, (left, top, right, bottom), is what maps of pixels have around the arrays: "
    "an input's edges are repeated, an output's padding is cut off.\n"
    "\n"
    "Pixels of one image can be (rows, columns, function) instead of an array. The function "
    "is called with the first of some rows and a uint8 array of them, (rows, columns, 3), to "
    "be filled where it is an input, one time after another for rows that follow on each "
    "other, by the thread that called run(). What it raises ends the run.\n"
    "\n"
    "Returns whether all numbers were finite that outputs' pixels, and their padding, are "
    "made of.";

}  // namespace

void bind(py::module_& module) {
  py::class_<Kept>(module, "Program",
                   "Nodes on maps, run in bands of rows; made by ProgramBuilder.build.")
      .def(
          "run",
          [](const Kept& kept, const std::vector<Given>& inputs, const std::vector<Given>& outputs,
             unsigned threads, std::size_t band_rows, const Padding& padding) {
            return run(kept, inputs, outputs, threads, band_rows, padding);
          },
          py::arg("inputs"), py::arg("outputs"), py::arg("threads"), py::arg("band_rows") = 0,
          py::arg("padding") = Padding{}, kRun)
      .def(
          "output_sizes",
          [](const Kept& kept, std::size_t height, std::size_t width) {
            std::vector<Sides> sizes;
            for (const Size& s : kept.program.output_sizes(all_of(kept, height, width))) {
              sizes.push_back({s.height, s.width});
            }
            return sizes;
          },
          py::arg("height"), py::arg("width"),
          "Rows and columns of each output, for inputs that all are of such a size.")
      .def(
          "describe",
          [](const Kept& kept, std::size_t height, std::size_t width) {
            std::vector<Node3> nodes;
            const auto all = kept.program.describe(all_of(kept, height, width), cpu::default_isa());
            for (const Description& d : all) {
              nodes.push_back({d.kind, d.kernel, {d.size.height, d.size.width, d.channels}});
            }
            return nodes;
          },
          py::arg("height"), py::arg("width"),
          "Each node's kind, kernel, and rows, columns and channels of its output.")
      .def(
          "memory",
          [](const Kept& kept, std::size_t height, std::size_t width, unsigned threads,
             std::size_t band_rows) {
            const cpu::Isa isa = cpu::default_isa();
            const py::gil_scoped_release release;
            return kept.program.memory(all_of(kept, height, width), band_rows, isa, threads);
          },
          py::arg("height"), py::arg("width"), py::arg("threads"), py::arg("band_rows") = 0,
          "Bytes of the maps' memory while run() computes an image.");

  py::class_<ProgramBuilder>(module, "ProgramBuilder",
                             "Makes a Program. Maps are numbers; weights are C-contiguous arrays "
                             "of float32, which must not change.")
      .def(py::init<bool, bool>(), py::arg("bfloat16"), py::arg("compact") = false)
      .def("input", &ProgramBuilder::input, py::arg("channels"), "A map that the caller gives.")
      .def("pixels", &ProgramBuilder::pixels,
           "A map of 3 channels, of which the caller gives pixels, uint8; they are divided by 255.")
      .def("conv2d", &ProgramBuilder::conv2d, py::arg("x"), py::arg("weight").noconvert(),
           py::arg("bias").noconvert() = py::none(), py::arg("stride") = 1, py::arg("padding") = 0,
           py::arg("activation") = "none", py::arg("residual") = py::none(), py::arg("shuffle") = 1,
           "activation(conv(x) + bias + residual). With a shuffle of r the outputs are those of "
           "r x r pixels one after another, (r, r, channels).")
      .def("linear", &ProgramBuilder::linear, py::arg("x"), py::arg("weight").noconvert(),
           py::arg("bias").noconvert() = py::none(), py::arg("activation") = "none",
           py::arg("residual") = py::none(), py::arg("norm").noconvert() = py::none(),
           "activation(norm(x) W^T + bias + residual).")
      .def("feed_forward", &ProgramBuilder::feed_forward, py::arg("x"), py::arg("norm").noconvert(),
           py::arg("w1").noconvert(), py::arg("b1").noconvert(), py::arg("activation"),
           py::arg("w2").noconvert(), py::arg("b2").noconvert(), py::arg("residual") = py::none(),
           "activation(norm(x) W1^T + b1) W2^T + b2 + residual.")
      .def("gdn", &ProgramBuilder::gdn, py::arg("x"), py::arg("gamma").noconvert(),
           py::arg("beta").noconvert(), py::arg("inverse"),
           "x / sqrt(x^2 gamma^T + beta), inverse: x times that root.")
      .def("window_attention", &ProgramBuilder::window_attention, py::arg("qkv"),
           py::arg("table").noconvert(), py::arg("pad_value").noconvert(), py::arg("window"),
           py::arg("shift"), py::arg("scale"), py::arg("mask_value"),
           "See lic_fast.ops.window_attention; the table has the shape ((2 window - 1)^2, heads).")
      .def("layer_norm", &ProgramBuilder::layer_norm, py::arg("x"), py::arg("weight").noconvert(),
           py::arg("bias").noconvert(), py::arg("epsilon"), "The norm of each pixel's channels.")
      .def("unary", &ProgramBuilder::unary, py::arg("x"), py::arg("kind"), py::arg("number") = 0.0f,
           "relu, leaky_relu (number: slope), gelu, sigmoid, tanh, exp, square, sqrt, abs, negate, "
           "scale (times number) or shift (plus number) of each number.")
      .def("binary", &ProgramBuilder::binary, py::arg("x"), py::arg("y"), py::arg("kind"),
           py::arg("number") = 1.0f,
           "add (x + number y), multiply, divide, subtract, maximum or minimum of numbers.")
      .def("gate", &ProgramBuilder::gate, py::arg("values"), py::arg("logits"), py::arg("skip"),
           "values sigmoid(logits) + skip.")
      .def("space_to_depth", &ProgramBuilder::space_to_depth, py::arg("x"), py::arg("r"),
           py::arg("order") = "rows_first",
           "r x r pixels to one of as many channels, those of rows or of columns in turn.")
      .def("depth_to_space", &ProgramBuilder::depth_to_space, py::arg("x"), py::arg("r"),
           "Channels (r, r, C) to r x r pixels of C channels.")
      .def("split", &ProgramBuilder::split, py::arg("x"), py::arg("first"), py::arg("count"),
           "Some channels of a map, which are not copied.")
      .def("concat", &ProgramBuilder::concat, py::arg("parts"),
           "The channels of maps one after another.")
      .def("build", &ProgramBuilder::build, py::arg("outputs"), py::arg("pixels") = false,
           "The program that computes these maps. Of pixels the outputs are uint8, of 3 channels: "
           "times 255, rounded, ties to even, and clamped. The builder can be used once.");
}

}  // namespace lic_fast::program
