// Graphs of nodes on numbered maps, and how they are made.

#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "program/node.hpp"

namespace lic_fast::program {

/// A map of a graph by its number.
using MapId = std::size_t;

/// Where the channels of a map are: channels first to first + channels - 1 of a base, which is what
/// has memory of its own.
struct Place {
  std::size_t base, first, channels;

  bool overlaps(const Place& other) const {
    return base == other.base && first < other.first + other.channels &&
           other.first < first + channels;
  }
  bool operator==(const Place& other) const {
    return base == other.base && first == other.first && channels == other.channels;
  }
};

/// What computes rows of a map: a node, or what copies rows from or to the caller.
struct Step {
  enum class Kind { kInput, kNode, kOutput };

  Kind kind;
  std::size_t index;                 // of the caller's input or output
  std::shared_ptr<const Node> node;  // null where it is none
  std::vector<MapId> inputs;
  Place output;  // of kOutput the place of its input
};

/// A step that reads, and which of its inputs.
struct Reader {
  std::size_t step, input;
};

/// Steps in an order in which each reads what steps before it write. No two steps write the same
/// channels. Every step but the last ones, kOutput, is one that an output depends on.
struct Graph {
  bool bfloat16 = false;
  std::vector<Place> maps;
  std::vector<std::size_t> bases;  // the channels of each
  std::vector<Step> steps;
  std::vector<std::size_t> inputs;  // the channels of the caller's
  std::vector<std::size_t> outputs;

  /// Of each step, and of each of its inputs, the steps that write channels of it.
  std::vector<std::vector<std::vector<std::size_t>>> sources;
  /// Of each step those that read channels that it writes.
  std::vector<std::vector<Reader>> readers;

  std::size_t item() const { return bfloat16 ? 2 : 4; }
};

/// Makes a graph. Everything throws std::invalid_argument for maps that there are not.
class Builder {
 public:
  explicit Builder(bool bfloat16) { graph_.bfloat16 = bfloat16; }

  /// A map that the caller gives.
  MapId input(std::size_t channels);

  /// The map that a node writes, with so many channels.
  MapId add(std::shared_ptr<const Node> node, std::vector<MapId> inputs, std::size_t channels);

  /// Channels `first` to first + count - 1 of a map, which are not copied.
  MapId split(MapId x, std::size_t first, std::size_t count);

  /// The channels of several maps of one size, one after another. What writes a part writes it to
  /// its place in the whole, unless it is an earlier whole's, or itself a part of another map: then
  /// it is copied.
  MapId concat(const std::vector<MapId>& parts);

  std::size_t channels(MapId x) const;

  /// The graph of the steps that these maps need. It can be made once.
  Graph build(const std::vector<MapId>& outputs);

 private:
  const Place& place(MapId x) const;
  void check_open() const;
  MapId new_map(const Place& place);
  std::size_t new_base(std::size_t channels);

  Graph graph_;
  std::vector<bool> merged_;  // bases that are parts of another one
  bool built_ = false;
};

}  // namespace lic_fast::program
