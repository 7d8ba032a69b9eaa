#include "program/call.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "cpu/isa.hpp"

namespace lic_fast::program {
namespace {

namespace py = pybind11;
using Function = std::tuple<std::size_t, std::size_t, py::function>;

// Columns or rows of a picture or of a side's padding.
constexpr std::size_t kMostSide = std::numeric_limits<std::int32_t>::max();

void check(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

std::size_t size(const py::array& x, int dimension) {
  return static_cast<std::size_t>(x.shape(dimension));
}

std::string text(const std::vector<std::size_t>& shape) {
  std::string text;
  for (const std::size_t side : shape) text += (text.empty() ? "" : ", ") + std::to_string(side);
  return "(" + text + ")";
}

/// A map as a caller has it, and the distance of its images.
template <class Any>
struct Images {
  Any first;
  std::size_t image = 0;

  Any at(std::size_t index) const {
    Any x = first;
    std::visit([&](auto& map) { move(map, index * image); }, x);
    return x;
  }

 private:
  template <class Map>
  static void move(Map& map, std::size_t distance) {
    map.data += distance;
  }
  template <class Data>
  static void move(PictureRows<Data>&, std::size_t) {}  // of one image
};

/// Numbers from one to the next of each dimension, (batch, rows, columns, channels).
std::array<std::size_t, 4> distances_of(const py::array& x, bool written) {
  std::array<std::size_t, 4> distances{};
  for (int i = 0; i < 4; ++i) {
    if (x.shape(i) < 2) continue;
    const py::ssize_t item = x.itemsize();
    check(x.strides(i) >= 0 && x.strides(i) % item == 0,
          "no dimension of a map may run backwards, and its strides must be whole numbers");
    check(!written || x.strides(i) != 0 || x.size() == 0, "numbers of an output overlap");
    distances[static_cast<std::size_t>(i)] = static_cast<std::size_t>(x.strides(i) / item);
  }
  // As it would lie densely: of one channel any distance will do.
  if (x.shape(3) < 2) distances[3] = 1;
  return distances;
}

void check_array(const py::array& x, bool pixels, const std::string& name) {
  if (!x.dtype().is(pixels ? py::dtype::of<std::uint8_t>() : py::dtype::of<float>())) {
    throw py::type_error(name + " must be of " + (pixels ? "uint8" : "float32") + ", not " +
                         py::str(x.dtype()).cast<std::string>());
  }
  check(x.ndim() == 4, name + " must be (batch, rows, columns, channels), not " +
                           py::str(x.attr("shape")).cast<std::string>());
}

std::vector<std::size_t> shape_of(const py::array& x) {
  return {size(x, 0), size(x, 1), size(x, 2), size(x, 3)};
}

/// The padding as numbers of columns and rows.
struct Around {
  std::size_t left, top, right, bottom;
};

Around around(const Callable& callable, const Padding& padding) {
  std::array<std::size_t, 4> sides{};
  for (std::size_t i = 0; i < 4; ++i) {
    check(padding[i] >= 0 && padding[i] <= static_cast<std::int64_t>(kMostSide),
          "a side's padding must be 0 to " + std::to_string(kMostSide) + " pixels, not " +
              std::to_string(padding[i]));
    sides[i] = static_cast<std::size_t>(padding[i]);
  }
  const std::vector<bool>& inputs = callable.pixel_inputs;
  check(callable.pixel_outputs || padding == Padding{} ||
            std::find(inputs.begin(), inputs.end(), true) != inputs.end(),
        "padding is of pixels, which the program does not have");
  return {sides[0], sides[1], sides[2], sides[3]};
}

/// A call's inputs, and the sizes of their maps.
struct Inputs {
  std::size_t batch = 1;
  std::vector<Images<Source>> images;
  std::vector<Size> sizes;
};

Frame picture(std::size_t height, std::size_t width, const Around& padding,
              const std::string& name) {
  check(height > 0 && height <= kMostSide && width > 0 && width <= kMostSide,
        name + " has " + std::to_string(height) + " x " + std::to_string(width) +
            " pixels; a side must have 1 to " + std::to_string(kMostSide));
  return {{height, width}, padding.left, padding.top};
}

/// Calls of a function that fills rows.
PictureRows<std::uint8_t> from_function(const py::function& function, const Frame& frame) {
  const std::size_t width = frame.size.width;
  // By its address: references are counted only by who has the GIL.
  return {[rows = &function, width](std::size_t first, std::size_t count, std::uint8_t* numbers) {
            const py::gil_scoped_acquire acquire;
            const py::array_t<std::uint8_t> array({count, width, kColours});
            (*rows)(first, array);
            const std::size_t bytes = count * width * kColours;
            check(static_cast<std::size_t>(array.nbytes()) == bytes,
                  "a function of rows has changed the array's size");
            std::memcpy(numbers, array.data(), bytes);
          },
          frame};
}

/// Calls of a function that takes rows.
PictureRows<const std::uint8_t> to_function(const py::function& function, const Frame& frame) {
  const std::size_t width = frame.size.width;
  return {
      [rows = &function, width](std::size_t first, std::size_t count, const std::uint8_t* numbers) {
        const py::gil_scoped_acquire acquire;
        const std::array<std::size_t, 3> shape{count, width, kColours};
        (*rows)(first, py::array_t<std::uint8_t>(shape, numbers));  // a copy
      },
      frame};
}

Inputs inputs_of(const Callable& callable, const std::vector<Given>& given, const Around& padding) {
  Inputs inputs;
  if (const auto* const x = std::get_if<py::array>(&given[0])) {
    check_array(*x, callable.pixel_inputs[0], "input 0");
    inputs.batch = size(*x, 0);
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    const std::string name = "input " + std::to_string(i);
    const bool pixels = callable.pixel_inputs[i];
    Frame frame;
    if (const auto* const x = std::get_if<py::array>(&given[i])) {
      check_array(*x, pixels, name);
      check(size(*x, 0) == inputs.batch, "the inputs must have one batch size");
      const std::size_t channels = callable.program.graph().inputs[i];
      check(size(*x, 3) == channels, name + " is " + text(shape_of(*x)) + "; it must have " +
                                         std::to_string(channels) + " channels");
      const auto [image, row, pixel, channel] = distances_of(*x, false);
      frame.size = {size(*x, 1), size(*x, 2)};
      if (pixels) {
        frame = picture(size(*x, 1), size(*x, 2), padding, name);
        const auto* const data = static_cast<const std::uint8_t*>(x->data());
        inputs.images.push_back(
            {Picture<const std::uint8_t>{data, row, pixel, channel, frame}, image});
      } else {
        const auto* const data = static_cast<const float*>(x->data());
        inputs.images.push_back({Array<const float>{data, row, pixel, channel}, image});
      }
    } else {
      const auto& [height, width, function] = std::get<Function>(given[i]);
      check(pixels, name + " must be an array, as it is not pixels");
      check(inputs.batch == 1, "the inputs must have one batch size");
      frame = picture(height, width, padding, name);
      inputs.images.push_back({from_function(function, frame)});
    }
    Size map = frame.size;
    if (pixels) map.height += padding.top + padding.bottom;
    if (pixels) map.width += padding.left + padding.right;
    inputs.sizes.push_back(map);
  }
  return inputs;
}

std::vector<Images<Target>> outputs_of(const Callable& callable, const std::vector<Given>& given,
                                       const Inputs& inputs, const Around& padding) {
  const std::vector<Size> sizes = callable.program.output_sizes(inputs.sizes);
  const bool pixels = callable.pixel_outputs;
  std::vector<Images<Target>> outputs;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const std::string name = "output " + std::to_string(i);
    Frame frame{sizes[i]};
    if (pixels) {
      check(frame.size.height > padding.top + padding.bottom &&
                frame.size.width > padding.left + padding.right,
            name + " has " + std::to_string(sizes[i].height) + " x " +
                std::to_string(sizes[i].width) + " pixels, all of which are padding");
      frame = {{frame.size.height - padding.top - padding.bottom,
                frame.size.width - padding.left - padding.right},
               padding.left,
               padding.top};
    }
    if (auto x = std::get_if<py::array>(&given[i])) {
      check_array(*x, pixels, name);
      const std::vector<std::size_t> shape{inputs.batch, frame.size.height, frame.size.width,
                                           callable.program.graph().outputs[i]};
      check(shape_of(*x) == shape,
            name + " is " + text(shape_of(*x)) + "; it must be " + text(shape));
      py::array array = *x;
      void* const data = array.mutable_data();
      const auto [image, row, pixel, channel] = distances_of(array, true);
      if (pixels) {
        auto* const numbers = static_cast<std::uint8_t*>(data);
        outputs.push_back({Picture<std::uint8_t>{numbers, row, pixel, channel, frame}, image});
      } else {
        auto* const numbers = static_cast<float*>(data);
        outputs.push_back({Array<float>{numbers, row, pixel, channel}, image});
      }
    } else {
      const auto& [height, width, function] = std::get<Function>(given[i]);
      check(pixels, name + " must be an array, as it is not pixels");
      check(inputs.batch == 1 && height == frame.size.height && width == frame.size.width,
            name + " is of an image of " + text({height, width}) + " pixels; it must be of " +
                std::to_string(inputs.batch) + " of " +
                text({frame.size.height, frame.size.width}));
      outputs.push_back({to_function(function, frame)});
    }
  }
  return outputs;
}

}  // namespace

bool run(const Callable& callable, const std::vector<Given>& inputs,
         const std::vector<Given>& outputs, unsigned threads, std::size_t band_rows,
         const Padding& padding) {
  const Graph& graph = callable.program.graph();
  check(inputs.size() == graph.inputs.size() && outputs.size() == graph.outputs.size(),
        "the program has " + std::to_string(graph.inputs.size()) + " inputs and " +
            std::to_string(graph.outputs.size()) + " outputs");
  const Around sides = around(callable, padding);
  const Inputs from = inputs_of(callable, inputs, sides);
  const std::vector<Images<Target>> to = outputs_of(callable, outputs, from, sides);
  const cpu::Isa isa = cpu::default_isa();
  bool finite = true;
  const py::gil_scoped_release release;
  for (std::size_t image = 0; image < from.batch; ++image) {
    std::vector<Source> sources;
    std::vector<Target> targets;
    for (const auto& x : from.images) sources.push_back(x.at(image));
    for (const auto& x : to) targets.push_back(x.at(image));
    finite &= callable.program.run(from.sizes, sources, targets, band_rows, isa, threads);
  }
  return finite;
}

}  // namespace lic_fast::program
