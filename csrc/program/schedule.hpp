// Which rows each step of a graph computes in each band.

#pragma once

#include <cstddef>
#include <vector>

#include "program/graph.hpp"

namespace lic_fast::program {

/// The sizes of a graph's maps, for inputs of such sizes, and what its steps say of rows then.
class Shapes {
 public:
  /// Throws std::invalid_argument where sizes do not fit.
  Shapes(const Graph& graph, std::vector<Size> inputs);

  const std::vector<Size>& inputs(std::size_t step) const { return inputs_[step]; }
  Size output(std::size_t step) const { return outputs_[step]; }
  Size base(std::size_t base) const { return bases_[base]; }
  /// Bytes of all rows that a step writes.
  std::size_t bytes(std::size_t step) const;

  /// Node::needs and Node::stop of any step, checked: a node that contradicts itself ends in a
  /// std::logic_error and not in other memory.
  Rows needs(std::size_t step, std::size_t input, Rows rows) const;
  std::size_t stop(std::size_t step, std::size_t end) const;

 private:
  const Graph& graph_;
  std::vector<Size> bases_, outputs_;
  std::vector<std::vector<Size>> inputs_;
};

/// Rows that a step computes in a band.
struct Turn {
  std::size_t step;
  Rows rows;
};

/// The turns of each band, in the order of the steps.
///
/// - The rows of a step's turns follow on each other from 0 to the end of what is needed, which of
///   an output is all of it: no row is computed twice.
/// - Each turn but a step's last ends where Node::stop says, and so bands change no result.
/// - What a turn needs has been computed by turns before it.
using Schedule = std::vector<std::vector<Turn>>;

/// The step whose rows the bands are parts of: of those with the largest output the last one.
///
/// Bands that were parts of an output could have many rows of a larger map: a row of latents is
/// computed from 16 rows of a picture, and from more where windows or Winograd's tiles lie on it.
std::size_t driver_of(const Graph& graph, const Shapes& shapes);

/// Bands as even as nodes allow, of which there are at most so many. In a band the driver's next
/// rows are computed, and before it what they need; then, from what there is, as much as can be of
/// all that does not lead to the driver.
Schedule make_schedule(const Graph& graph, const Shapes& shapes, std::size_t driver,
                       std::size_t bands);

}  // namespace lic_fast::program
