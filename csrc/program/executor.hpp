// Runs plans.

#pragma once

#include <cstddef>
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

/// Computes the outputs of one image.
void execute(const Graph& graph, const Plan& plan, const std::vector<Array<const float>>& inputs,
             const std::vector<Array<float>>& outputs, cpu::Isa isa, unsigned threads);

}  // namespace lic_fast::program
