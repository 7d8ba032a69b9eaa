// Where the rows of maps lie while a program runs.
//
// Maps that need memory of their own are stored in one: a part of the arena that holds some rows
// of them, a window that slides down the map. What must hold, and is checked when a plan is made:
//
// - A step writes rows behind those that it wrote before, and in the window. Rows are kept as long
//   as a step that reads them has not computed all that it needs them for: with d rows of a reader
//   done, that is from the begin of what its row d needs on.
// - So a window begins at the least row that some reader still needs, or that is written next, and
//   ends at the last row written. Its capacity is the largest such number of rows.
// - When a step's rows do not fit behind the window's begin, the rows that are kept are moved to
//   the begin of the memory, at most once in a turn.
// - A store with rows that are kept from a band to the next has memory of its own. The memory of
//   others is shared with stores that no step uses between their first writer and last reader.
// - A node may write over its input, so that both maps have one store, if in every turn it reads of
//   the input exactly the rows that it writes, and all other readers need only rows behind them.
//   Rows before the node's end are the output's then, and those behind it the input's.

#pragma once

#include <cstddef>
#include <vector>

#include "program/graph.hpp"
#include "program/schedule.hpp"

namespace lic_fast::program {

/// Memory for some rows of maps.
struct Store {
  std::size_t offset;    // in the arena, in bytes
  std::size_t channels;  // of a pixel
  std::size_t capacity;  // rows
  std::size_t row;       // bytes
  bool kept;             // from a band to the next
};

/// Where a base lies: in a store, from a channel on.
struct Location {
  std::size_t store, first;
};

/// A turn, and the rows that the store of its output has then.
struct PlannedTurn {
  std::size_t step;
  Rows rows;
  std::size_t origin;  // the row at the begin of the store's memory
  Rows moved;          // rows that are moved before, from where they lie with the last origin
};

struct Plan {
  Shapes shapes;
  std::size_t bands;
  std::vector<Store> stores;
  std::vector<Location> bases;
  std::vector<PlannedTurn> turns;
  std::size_t bytes;  // of the arena
};

/// The plan for a schedule.
Plan make_plan(const Graph& graph, const Shapes& shapes, const Schedule& schedule);

/// The number of bands for maps of such sizes, with such a driver.
std::size_t default_bands(const Graph& graph, const Shapes& shapes, std::size_t driver);

}  // namespace lic_fast::program
