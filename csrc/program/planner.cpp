#include "program/planner.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace lic_fast::program {
namespace {

// Bytes of all maps of a picture that has one band.
constexpr std::size_t kOneBand = std::size_t{64} << 20;
// Bytes of the largest map's rows in a band: with fewer, threads wait for each other more often
// than caches spare them memory.
constexpr std::size_t kBand = std::size_t{16} << 20;
constexpr std::size_t kLine = 64;

void check(bool condition, const char* message) {
  if (!condition) throw std::logic_error(message);
}

/// How many rows each step has done, and what that leaves to be kept.
class Progress {
 public:
  Progress(const Graph& graph, const Shapes& shapes)
      : graph_(graph), shapes_(shapes), done_(graph.steps.size(), 0) {}

  std::size_t done(std::size_t step) const { return done_[step]; }
  void finish(const Turn& turn) {
    check(turn.rows.begin == done_[turn.step], "a turn does not follow on the last one");
    done_[turn.step] = turn.rows.end;
  }

  /// The least row of an input that a step will still need, or the height, of none.
  std::size_t kept_for(std::size_t step, std::size_t input) const {
    const std::size_t done = done_[step];
    if (done == shapes_.output(step).height) return shapes_.inputs(step)[input].height;
    return shapes_.needs(step, input, {done, done + 1}).begin;
  }

  /// The least row that a step wrote or will write, and some reader will still need.
  std::size_t kept_of(std::size_t step) const {
    std::size_t kept = shapes_.output(step).height;
    for (const Reader& reader : graph_.readers[step]) {
      kept = std::min(kept, kept_for(reader.step, reader.input));
    }
    return kept;
  }

 private:
  const Graph& graph_;
  const Shapes& shapes_;
  std::vector<std::size_t> done_;
};

/// Nodes that may write over one of their inputs.
class Overwriting {
 public:
  Overwriting(const Graph& graph, const Shapes& shapes, const Schedule& schedule)
      : graph_(graph), shapes_(shapes) {
    for (std::size_t s = 0; s < graph.steps.size(); ++s) {
      for (std::size_t i = 0; i < graph.steps[s].inputs.size(); ++i) {
        if (possible(s, i)) candidates_.push_back({s, i, true});
      }
    }
    Progress progress(graph, shapes);
    for (const auto& band : schedule) {
      for (const Turn& turn : band) {
        for (Candidate& c : candidates_) {
          if (c.step == turn.step) c.holds = c.holds && holds(c, turn.rows, progress);
        }
        progress.finish(turn);
      }
    }
  }

  /// The input that a step writes over, or the number of its inputs.
  std::size_t input(std::size_t step) const {
    for (const Candidate& c : candidates_) {
      if (c.step == step && c.holds) return c.input;
    }
    return graph_.steps[step].inputs.size();
  }

 private:
  struct Candidate {
    std::size_t step, input;
    bool holds;
  };

  const Place& place(std::size_t step, std::size_t input) const {
    return graph_.maps[graph_.steps[step].inputs[input]];
  }

  bool possible(std::size_t step, std::size_t input) const {
    const Step& s = graph_.steps[step];
    if (s.kind != Step::Kind::kNode || !s.node->in_place(input)) return false;
    const Place& from = place(step, input);
    const Size out = shapes_.output(step), in = shapes_.inputs(step)[input];
    if (out.height != in.height || out.width != in.width) return false;
    // The output is all of its base, and so can be elsewhere.
    if (s.output.channels != graph_.bases[s.output.base] || from.channels != s.output.channels) {
      return false;
    }
    for (std::size_t i = 0; i < s.inputs.size(); ++i) {
      const Place& other = place(step, i);
      if (other.overlaps(from) && !(other == from && s.node->in_place(i))) return false;
    }
    return true;
  }

  bool holds(const Candidate& c, Rows rows, const Progress& progress) const {
    for (std::size_t i = 0; i < graph_.steps[c.step].inputs.size(); ++i) {
      if (!place(c.step, i).overlaps(place(c.step, c.input))) continue;
      const Rows read = shapes_.needs(c.step, i, rows);
      if (read.begin != rows.begin || read.end != rows.end) return false;
    }
    for (const std::size_t writer : graph_.sources[c.step][c.input]) {
      for (const Reader& r : graph_.readers[writer]) {
        if (r.step == c.step || !place(r.step, r.input).overlaps(place(c.step, c.input))) continue;
        if (progress.kept_for(r.step, r.input) < rows.end) return false;
      }
    }
    return true;
  }

  const Graph& graph_;
  const Shapes& shapes_;
  std::vector<Candidate> candidates_;
};

/// A store while it is planned.
struct Window {
  std::vector<std::size_t> writers;
  std::size_t first_use, last_use;  // steps
  std::size_t origin = 0;
};

class Planner {
 public:
  Planner(const Graph& graph, const Shapes& shapes, const Schedule& schedule)
      : graph_(graph),
        schedule_(schedule),
        plan_{shapes, schedule.size(), {}, {}, {}, 0},
        shapes_(plan_.shapes) {}

  Plan make() {
    make_stores();
    find_capacities();
    place_stores();
    find_turns();
    return std::move(plan_);
  }

 private:
  void make_stores() {
    const Overwriting overwriting(graph_, shapes_, schedule_);
    constexpr auto kNone = static_cast<std::size_t>(-1);
    plan_.bases.assign(graph_.bases.size(), {kNone, 0});
    for (std::size_t s = 0; s < graph_.steps.size(); ++s) {
      const Step& step = graph_.steps[s];
      Location& at = plan_.bases[step.output.base];
      if (step.kind == Step::Kind::kOutput) {
        windows_[at.store].last_use = s;
        continue;
      }
      for (const MapId x : step.inputs) {
        windows_[plan_.bases[graph_.maps[x].base].store].last_use = s;
      }
      if (at.store == kNone) {
        const std::size_t input = overwriting.input(s);
        if (input < step.inputs.size()) {
          const Place& from = graph_.maps[step.inputs[input]];
          at = plan_.bases[from.base];
          at.first += from.first;
        } else {
          at = {windows_.size(), 0};
          const std::size_t channels = graph_.bases[step.output.base];
          const std::size_t row = shapes_.output(s).width * channels * graph_.item();
          plan_.stores.push_back({0, channels, 0, row, false});
          windows_.push_back({{}, s, s});
        }
      }
      windows_[at.store].writers.push_back(s);
      windows_[at.store].last_use = s;
    }
  }

  std::size_t store_of(std::size_t step) const {
    return plan_.bases[graph_.steps[step].output.base].store;
  }

  /// The end of the rows that are in a store.
  std::size_t filled(const Window& window, const Progress& progress) const {
    std::size_t end = 0;
    for (const std::size_t w : window.writers) end = std::max(end, progress.done(w));
    return end;
  }
  std::size_t kept(const Window& window, const Progress& progress) const {
    std::size_t begin = static_cast<std::size_t>(-1);
    for (const std::size_t w : window.writers) begin = std::min(begin, progress.kept_of(w));
    return begin;
  }

  void find_capacities() {
    Progress progress(graph_, shapes_);
    for (std::size_t band = 0; band < schedule_.size(); ++band) {
      for (const Turn& turn : schedule_[band]) {
        if (graph_.steps[turn.step].kind != Step::Kind::kOutput) {
          const std::size_t store = store_of(turn.step);
          const Window& window = windows_[store];
          const std::size_t begin = std::min(kept(window, progress), turn.rows.begin);
          const std::size_t end = std::max(filled(window, progress), turn.rows.end);
          std::size_t& capacity = plan_.stores[store].capacity;
          capacity = std::max(capacity, end - begin);
        }
        progress.finish(turn);
      }
      if (band + 1 == schedule_.size()) break;
      for (std::size_t i = 0; i < windows_.size(); ++i) {
        const std::size_t end = filled(windows_[i], progress);
        plan_.stores[i].kept = plan_.stores[i].kept || kept(windows_[i], progress) < end;
      }
    }
  }

  bool side_by_side(std::size_t a, std::size_t b) const {
    if (plan_.stores[a].kept || plan_.stores[b].kept) return true;
    return windows_[a].first_use <= windows_[b].last_use &&
           windows_[b].first_use <= windows_[a].last_use;
  }

  /// Each store in the first gap that holds it, the largest ones first.
  void place_stores() {
    const auto size = [this](std::size_t store) {
      const Store& s = plan_.stores[store];
      return (s.capacity * s.row + kLine - 1) / kLine * kLine;
    };
    std::vector<std::size_t> order(plan_.stores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return size(a) > size(b); });
    std::vector<std::size_t> placed;  // by offset
    for (const std::size_t store : order) {
      std::size_t offset = 0;
      for (const std::size_t other : placed) {
        if (!side_by_side(store, other)) continue;
        const std::size_t begin = plan_.stores[other].offset;
        if (offset + size(store) <= begin) break;
        offset = std::max(offset, begin + size(other));
      }
      plan_.stores[store].offset = offset;
      plan_.bytes = std::max(plan_.bytes, offset + size(store));
      const auto after = std::find_if(placed.begin(), placed.end(), [&](std::size_t other) {
        return plan_.stores[other].offset > offset;
      });
      placed.insert(after, store);
    }
  }

  void find_turns() {
    Progress progress(graph_, shapes_);
    for (const auto& band : schedule_) {
      for (const Turn& turn : band) {
        PlannedTurn planned{turn.step, turn.rows, 0, {}};
        if (graph_.steps[turn.step].kind != Step::Kind::kOutput) {
          const std::size_t store = store_of(turn.step);
          Window& window = windows_[store];
          const std::size_t capacity = plan_.stores[store].capacity;
          const std::size_t begin = std::min(kept(window, progress), turn.rows.begin);
          const std::size_t there = filled(window, progress);
          const std::size_t end = std::max(there, turn.rows.end);
          check(begin >= window.origin, "a reader needs rows that have been dropped");
          if (begin >= there || end - window.origin > capacity) {
            if (begin != window.origin && begin < there) planned.moved = {begin, there};
            window.origin = begin;
          }
          check(end - window.origin <= capacity, "rows do not fit their memory");
          planned.origin = window.origin;
        }
        check_inputs(turn, progress);
        progress.finish(turn);
        plan_.turns.push_back(planned);
      }
    }
    for (std::size_t s = 0; s < graph_.steps.size(); ++s) {
      check(graph_.steps[s].kind != Step::Kind::kOutput ||
                progress.done(s) == shapes_.output(s).height,
            "an output is not finished");
    }
  }

  /// That what a turn reads is there.
  void check_inputs(const Turn& turn, const Progress& progress) const {
    const Step& step = graph_.steps[turn.step];
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      const Rows rows = shapes_.needs(turn.step, i, turn.rows);
      const Window& window = windows_[plan_.bases[graph_.maps[step.inputs[i]].base].store];
      check(rows.begin >= progress.kept_for(turn.step, i) && rows.begin >= window.origin,
            "a step needs rows that have been dropped");
      for (const std::size_t w : graph_.sources[turn.step][i]) {
        check(rows.end <= progress.done(w), "a step needs rows that have not been computed");
      }
    }
  }

  const Graph& graph_;
  const Schedule& schedule_;
  Plan plan_;
  const Shapes& shapes_;
  std::vector<Window> windows_;  // of the stores
};

}  // namespace

Plan make_plan(const Graph& graph, const Shapes& shapes, const Schedule& schedule) {
  return Planner(graph, shapes, schedule).make();
}

std::size_t default_bands(const Graph& graph, const Shapes& shapes, std::size_t driver) {
  std::size_t all = 0;
  for (std::size_t s = 0; s < graph.steps.size(); ++s) {
    if (graph.steps[s].kind != Step::Kind::kOutput) all += shapes.bytes(s);
  }
  if (all <= kOneBand) return 1;
  const std::size_t bands = (shapes.bytes(driver) + kBand - 1) / kBand;
  return std::min(shapes.output(driver).height, bands);
}

}  // namespace lic_fast::program
