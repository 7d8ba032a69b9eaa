// Programs: graphs of nodes that run in bands of rows, of which only those that are still needed
// are in memory. See planner.hpp, executor.hpp and docs of lic_fast.engine.

#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/isa.hpp"
#include "cpu/once.hpp"
#include "program/executor.hpp"
#include "program/graph.hpp"
#include "program/planner.hpp"

namespace lic_fast::program {

/// What a node is, for people.
struct Description {
  std::string kind, kernel;
  Size size;
  std::size_t channels;
};

/// A graph, and plans for the sizes that it was last run for. Calls from several threads at once
/// are separate.
class Program {
 public:
  explicit Program(Graph graph) : graph_(std::move(graph)) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  const Graph& graph() const { return graph_; }

  /// Sizes of the outputs, for inputs of such sizes. This and all below throw std::invalid_argument
  /// where sizes do not fit.
  std::vector<Size> output_sizes(const std::vector<Size>& inputs) const;

  /// Computes the outputs of one image, in as many bands as the first output has bands of
  /// `band_rows` rows; 0: as the environment's LIC_FAST_BAND_ROWS says, or as seems best. Maps of
  /// pictures have the size of the picture and its padding. Returns what execute() does.
  bool run(const std::vector<Size>& sizes, const std::vector<Source>& inputs,
           const std::vector<Target>& outputs, std::size_t band_rows, cpu::Isa isa,
           unsigned threads) const;

  /// Bytes of memory that this takes.
  std::size_t memory(const std::vector<Size>& sizes, std::size_t band_rows, cpu::Isa isa,
                     unsigned threads) const;

  /// The nodes.
  std::vector<Description> describe(const std::vector<Size>& inputs, cpu::Isa isa) const;

 private:
  using Key = std::tuple<std::vector<std::pair<std::size_t, std::size_t>>, std::size_t, cpu::Isa>;

  std::shared_ptr<const Plan> plan(const std::vector<Size>& sizes, std::size_t band_rows,
                                   cpu::Isa isa, unsigned threads) const;

  const Graph graph_;
  struct Plans {
    std::mutex mutex;
    std::list<std::pair<Key, std::shared_ptr<const Plan>>> last;  // the last used first
  };
  mutable cpu::Part<Plans> plans_;
};

}  // namespace lic_fast::program
