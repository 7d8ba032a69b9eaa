#include "program/schedule.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace lic_fast::program {
namespace {

bool operator==(Size a, Size b) { return a.height == b.height && a.width == b.width; }

std::string text(Size size) {
  return std::to_string(size.height) + " x " + std::to_string(size.width);
}

/// The schedule while it is made.
class Bands {
 public:
  Bands(const Graph& graph, const Shapes& shapes, std::size_t driver)
      : graph_(graph), shapes_(shapes), driver_(driver), done_(graph.steps.size(), 0) {
    leads_.assign(graph.steps.size(), false);
    leads_[driver] = true;
    for (std::size_t s = driver + 1; s-- > 0;) {
      if (!leads_[s]) continue;
      for (const auto& writers : graph.sources[s]) {
        for (const std::size_t w : writers) leads_[w] = true;
      }
    }
  }

  std::vector<Turn> next(std::size_t band, std::size_t bands) {
    required_ = done_;
    const bool last = band + 1 == bands;
    for (std::size_t s = 0; s < graph_.steps.size(); ++s) {
      const Step::Kind kind = graph_.steps[s].kind;
      const std::size_t height = shapes_.output(s).height;
      // Other inputs have no inputs to wait for.
      if (s == driver_ || (kind == Step::Kind::kInput && !leads_[s])) {
        require(s, (height * (band + 1) + bands - 1) / bands);
      }
      if (last && kind == Step::Kind::kOutput) require(s, height);
    }
    for (std::size_t s = graph_.steps.size(); s-- > 0;) {
      if (required_[s] == done_[s]) continue;
      for (std::size_t i = 0; i < graph_.sources[s].size(); ++i) {
        const std::size_t end = shapes_.needs(s, i, {done_[s], required_[s]}).end;
        for (const std::size_t w : graph_.sources[s][i]) require(w, end);
      }
    }
    std::vector<Turn> turns;
    for (std::size_t s = 0; s < graph_.steps.size(); ++s) {
      std::size_t end = required_[s];
      if (!last && !leads_[s]) end = std::max(end, reachable(s));
      if (end == done_[s]) continue;
      turns.push_back({s, {done_[s], end}});
      done_[s] = end;
    }
    return turns;
  }

 private:
  void require(std::size_t step, std::size_t end) {
    if (end > required_[step]) required_[step] = shapes_.stop(step, end);
  }

  /// The last row before which a step can end, with the rows that there are of its inputs.
  std::size_t reachable(std::size_t step) const {
    const std::size_t height = shapes_.output(step).height;
    std::size_t end = done_[step];
    while (end < height) {
      const std::size_t next = shapes_.stop(step, end + 1);
      for (std::size_t i = 0; i < graph_.sources[step].size(); ++i) {
        const std::size_t needed = shapes_.needs(step, i, {done_[step], next}).end;
        for (const std::size_t w : graph_.sources[step][i]) {
          if (done_[w] < needed) return end;
        }
      }
      end = next;
    }
    return end;
  }

  const Graph& graph_;
  const Shapes& shapes_;
  const std::size_t driver_;
  std::vector<std::size_t> done_, required_;
  std::vector<bool> leads_;  // to the driver
};

}  // namespace

Shapes::Shapes(const Graph& graph, std::vector<Size> inputs)
    : graph_(graph), bases_(graph.bases.size()), inputs_(graph.steps.size()) {
  if (inputs.size() != graph.inputs.size()) {
    throw std::invalid_argument("the program has " + std::to_string(graph.inputs.size()) +
                                " inputs, not " + std::to_string(inputs.size()));
  }
  for (std::size_t s = 0; s < graph.steps.size(); ++s) {
    const Step& step = graph.steps[s];
    for (const MapId x : step.inputs) inputs_[s].push_back(bases_[graph.maps[x].base]);
    Size size;
    if (step.kind == Step::Kind::kInput) {
      size = inputs[step.index];
    } else if (step.kind == Step::Kind::kOutput) {
      size = inputs_[s][0];
    } else {
      size = step.node->output_size(inputs_[s]);
    }
    if (size.height == 0 || size.width == 0) {
      throw std::invalid_argument("a map of " + text(size) + " pixels" +
                                  (step.node ? ", of " + step.node->kind() : "") +
                                  ": every map must have some");
    }
    constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max() / 64;
    if (size.width > kMost / size.height ||
        size.width * size.height > kMost / graph.bases[step.output.base]) {
      throw std::invalid_argument("a map of " + text(size) + " pixels is too large");
    }
    Size& base = bases_[step.output.base];
    if (base.height != 0 && !(base == size)) {
      throw std::invalid_argument("maps of " + text(base) + " and of " + text(size) +
                                  " pixels cannot be parts of one");
    }
    base = size;
    outputs_.push_back(size);
  }
}

std::size_t Shapes::bytes(std::size_t step) const {
  const Size size = outputs_[step];
  return size.height * size.width * graph_.steps[step].output.channels * graph_.item();
}

Rows Shapes::needs(std::size_t step, std::size_t input, Rows rows) const {
  const Step& s = graph_.steps[step];
  if (s.kind != Step::Kind::kNode) return rows;
  const Rows needed = s.node->needs(input, rows, inputs_[step], outputs_[step]);
  if (needed.begin > needed.end || needed.end > inputs_[step][input].height) {
    throw std::logic_error(s.node->kind() + " needs rows that its input does not have");
  }
  return needed;
}

std::size_t Shapes::stop(std::size_t step, std::size_t end) const {
  const Step& s = graph_.steps[step];
  if (s.kind != Step::Kind::kNode) return end;
  const std::size_t stop = s.node->stop(end, outputs_[step]);
  if (stop < end || stop > outputs_[step].height) {
    throw std::logic_error(s.node->kind() + " would stop outside of its map");
  }
  return stop;
}

std::size_t driver_of(const Graph& graph, const Shapes& shapes) {
  std::size_t driver = 0;
  for (std::size_t s = 0; s < graph.steps.size(); ++s) {
    if (graph.steps[s].kind == Step::Kind::kOutput) continue;
    if (shapes.bytes(s) >= shapes.bytes(driver)) driver = s;
  }
  return driver;
}

Schedule make_schedule(const Graph& graph, const Shapes& shapes, std::size_t driver,
                       std::size_t bands) {
  Bands state(graph, shapes, driver);
  Schedule schedule;
  for (std::size_t band = 0; band < bands; ++band) {
    std::vector<Turn> turns = state.next(band, bands);
    if (!turns.empty()) schedule.push_back(std::move(turns));
  }
  return schedule;
}

}  // namespace lic_fast::program
