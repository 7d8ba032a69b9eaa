// Runs plans.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <variant>
#include <vector>

#include "cpu/isa.hpp"
#include "program/graph.hpp"
#include "program/planner.hpp"

namespace lic_fast::program {

/// A caller's map of float32. Distances are in numbers, and not of a map whose numbers overlap
/// where it is written.
template <class Data>
struct Array {
  Data* data;
  std::size_t row, pixel, channel;
};

/// Channels of pictures.
constexpr std::size_t kColours = 3;

/// Where a picture lies in a map: behind `left` columns and below `top` rows of padding.
struct Frame {
  Size size;  // of the picture
  std::size_t left = 0, top = 0;

  /// The row of the picture that is nearest to a row of the map.
  std::size_t nearest(std::size_t row) const {
    return std::min(std::max(row, top) - top, size.height - 1);
  }
  /// The rows of the picture that are among rows of the map.
  Rows inside(Rows rows) const {
    return {std::min(std::max(rows.begin, top) - top, size.height),
            std::min(std::max(rows.end, top) - top, size.height)};
  }
};

/// Rows of a caller's picture of uint8, of three channels. An input's padding repeats the picture's
/// edges; an output's is not written. Distances are in numbers.
template <class Data>
struct Picture {
  Data* data;  // of row `first` of the picture
  std::size_t row, pixel, channel;
  Frame frame;
  std::size_t first = 0;
};

/// A picture whose rows a caller gives when they are needed, or takes when they are there: rows
/// first to first + count - 1, dense. In order, and of an input those only that are needed.
template <class Data>
struct PictureRows {
  std::function<void(std::size_t first, std::size_t count, Data* rows)> call;
  Frame frame;
};

using Source =
    std::variant<Array<const float>, Picture<const std::uint8_t>, PictureRows<std::uint8_t>>;
using Target = std::variant<Array<float>, Picture<std::uint8_t>, PictureRows<const std::uint8_t>>;

/// Computes the outputs of one image. Returns whether all numbers were finite of outputs that are
/// pictures, those of the padding too.
bool execute(const Graph& graph, const Plan& plan, const std::vector<Source>& inputs,
             const std::vector<Target>& outputs, cpu::Isa isa, unsigned threads);

}  // namespace lic_fast::program
