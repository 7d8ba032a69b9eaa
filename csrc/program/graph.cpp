#include "program/graph.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "program/nodes.hpp"

namespace lic_fast::program {
namespace {

void check(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

/// Removes steps that no output depends on.
void remove_unused(Graph& graph) {
  std::vector<Place> read;
  std::vector<Step> used;
  for (auto step = graph.steps.rbegin(); step != graph.steps.rend(); ++step) {
    const auto reads = [&](const Place& place) { return place.overlaps(step->output); };
    if (step->kind != Step::Kind::kOutput && std::none_of(read.begin(), read.end(), reads)) {
      continue;
    }
    for (const MapId x : step->inputs) read.push_back(graph.maps[x]);
    used.push_back(std::move(*step));
  }
  std::reverse(used.begin(), used.end());
  graph.steps = std::move(used);
}

void connect(Graph& graph) {
  graph.sources.resize(graph.steps.size());
  graph.readers.resize(graph.steps.size());
  for (std::size_t s = 0; s < graph.steps.size(); ++s) {
    const Step& step = graph.steps[s];
    graph.sources[s].resize(step.inputs.size());
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      for (std::size_t w = 0; w < s; ++w) {
        const Step& writer = graph.steps[w];
        if (writer.kind == Step::Kind::kOutput) continue;
        if (!writer.output.overlaps(graph.maps[step.inputs[i]])) continue;
        graph.sources[s][i].push_back(w);
        graph.readers[w].push_back({s, i});
      }
    }
  }
}

}  // namespace

void Builder::check_open() const { check(!built_, "the program has been built"); }

const Place& Builder::place(MapId x) const {
  check(x < graph_.maps.size(), "there is no map " + std::to_string(x) + ": the program has " +
                                    std::to_string(graph_.maps.size()));
  return graph_.maps[x];
}

std::size_t Builder::channels(MapId x) const { return place(x).channels; }

MapId Builder::new_map(const Place& place) {
  graph_.maps.push_back(place);
  return graph_.maps.size() - 1;
}

std::size_t Builder::new_base(std::size_t channels) {
  check(channels > 0, "a map must have channels");
  graph_.bases.push_back(channels);
  merged_.push_back(false);
  return graph_.bases.size() - 1;
}

MapId Builder::input(std::size_t channels) {
  check_open();
  const Place place{new_base(channels), 0, channels};
  graph_.steps.push_back({Step::Kind::kInput, graph_.inputs.size(), nullptr, {}, place});
  graph_.inputs.push_back(channels);
  return new_map(place);
}

MapId Builder::add(std::shared_ptr<const Node> node, std::vector<MapId> inputs,
                   std::size_t channels) {
  check_open();
  check(node != nullptr && !inputs.empty(), "a node must have inputs");
  for (const MapId x : inputs) place(x);
  const Place out{new_base(channels), 0, channels};
  graph_.steps.push_back({Step::Kind::kNode, 0, std::move(node), std::move(inputs), out});
  return new_map(out);
}

MapId Builder::split(MapId x, std::size_t first, std::size_t count) {
  check_open();
  const Place whole = place(x);
  check(count > 0 && first < whole.channels && count <= whole.channels - first,
        "channels " + std::to_string(first) + " to " + std::to_string(first + count) +
            " are not of a map of " + std::to_string(whole.channels) + " channels");
  return new_map({whole.base, whole.first + first, count});
}

MapId Builder::concat(const std::vector<MapId>& parts) {
  check_open();
  check(!parts.empty(), "concat must have parts");
  std::size_t channels = 0;
  for (const MapId part : parts) channels += place(part).channels;
  const std::size_t base = new_base(channels);
  std::size_t first = 0;
  for (const MapId part : parts) {
    const Place from = place(part);
    const Place to{base, first, from.channels};
    if (!merged_[from.base] && from.base != base && from.channels == graph_.bases[from.base]) {
      // All that is in the part's base is in the whole from now on.
      merged_[from.base] = true;
      const auto move = [&](Place& place) {
        if (place.base == from.base) place = {base, first + place.first, place.channels};
      };
      for (Place& map : graph_.maps) move(map);
      for (Step& step : graph_.steps) move(step.output);
    } else {
      graph_.steps.push_back({Step::Kind::kNode, 0, make_copy(), {part}, to});
    }
    first += from.channels;
  }
  return new_map({base, 0, channels});
}

Graph Builder::build(const std::vector<MapId>& outputs) {
  check_open();
  check(!outputs.empty(), "a program must have outputs");
  for (const MapId x : outputs) place(x);
  built_ = true;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Place& from = graph_.maps[outputs[i]];
    // As soon as it has been written, while it is in the cache.
    auto last = graph_.steps.end();
    while (last != graph_.steps.begin()) {
      const Step& step = *(last - 1);
      if (step.kind != Step::Kind::kOutput && step.output.overlaps(from)) break;
      --last;
    }
    graph_.steps.insert(last, {Step::Kind::kOutput, i, nullptr, {outputs[i]}, from});
    graph_.outputs.push_back(from.channels);
  }
  remove_unused(graph_);
  connect(graph_);
  return std::move(graph_);
}

}  // namespace lic_fast::program
