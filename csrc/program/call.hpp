// Programs called from Python, with arrays, and functions that give or take rows of pixels.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <variant>
#include <vector>

#include "program/program.hpp"

namespace lic_fast::program {

/// A program, and how it is given to callers.
struct Callable {
  Program program;
  std::vector<bool> pixel_inputs;  // of each, whether it is pixels of uint8, or else float32
  bool pixel_outputs;
};

/// Of pixels: left, top, right, bottom.
using Padding = std::array<std::int64_t, 4>;
/// An array, or rows, columns and a function.
using Given =
    std::variant<pybind11::array, std::tuple<std::size_t, std::size_t, pybind11::function>>;

/// Program.run of the module.
bool run(const Callable& callable, const std::vector<Given>& inputs,
         const std::vector<Given>& outputs, unsigned threads, std::size_t band_rows,
         const Padding& padding);

}  // namespace lic_fast::program
