// What makes steps and maps a program.

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "integer/program.hpp"

namespace lic_fast::integer {
namespace {

// Of a map's sides to those of the inputs.
constexpr std::size_t kLargestScale = 64;
constexpr std::size_t kMostMapChannels = std::size_t{1} << 20;

void check(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

/// Which channels of maps have been written.
class Written {
 public:
  explicit Written(const std::vector<MapKind>& maps) : maps_(maps), channels_(maps.size()) {
    for (std::size_t id = 0; id < maps.size(); ++id) {
      if (maps[id].base == kNoMap) channels_[id].assign(maps[id].channels, false);
    }
  }
  bool all(MapId id) const { return count(id) == maps_[id].channels; }
  bool none(MapId id) const { return count(id) == 0; }
  void add(MapId id) {
    const auto begin = of(id).begin() + static_cast<std::ptrdiff_t>(maps_[id].first);
    std::fill_n(begin, maps_[id].channels, true);
  }

 private:
  std::vector<bool>& of(MapId id) {
    return channels_[maps_[id].base == kNoMap ? id : maps_[id].base];
  }
  std::size_t count(MapId id) const {
    const auto& channels = channels_[maps_[id].base == kNoMap ? id : maps_[id].base];
    const auto begin = channels.begin() + static_cast<std::ptrdiff_t>(maps_[id].first);
    return static_cast<std::size_t>(
        std::count(begin, begin + static_cast<std::ptrdiff_t>(maps_[id].channels), true));
  }

  const std::vector<MapKind>& maps_;
  std::vector<std::vector<bool>> channels_;
};

}  // namespace

Uses uses(const Step& step) {
  Uses all;
  if (const auto* s = std::get_if<LayersStep>(&step)) {
    all = {{s->x, s->residual}, {s->values, s->activations}};
  } else if (const auto* s = std::get_if<SubpixelStep>(&step)) {
    all = {{s->x}, {s->values, s->activations}};
  } else if (const auto* s = std::get_if<QuantizeStep>(&step)) {
    all = {{s->x}, {s->activations}};
  } else if (const auto* s = std::get_if<NormStep>(&step)) {
    all = {{s->x}, {s->activations}};
  } else if (const auto* s = std::get_if<AttentionStep>(&step)) {
    all = {{s->x}, {s->activations}};
  } else if (const auto* s = std::get_if<GateStep>(&step)) {
    all = {{s->x, s->gate, s->residual}, {s->activations}};
  } else if (const auto* s = std::get_if<ElementStep>(&step)) {
    all = {{s->x, s->y}, {s->values, s->activations}};
  }
  for (auto* ids : {&all.read, &all.written}) {
    ids->erase(std::remove(ids->begin(), ids->end(), kNoMap), ids->end());
  }
  return all;
}

Program::Program(std::vector<MapKind> maps, std::vector<Step> steps, std::vector<MapId> inputs,
                 std::vector<MapId> outputs)
    : maps_(std::move(maps)),
      steps_(std::move(steps)),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      given_(maps_.size(), false) {
  check_kinds();
  Written written(maps_);
  for (const MapId id : inputs_) {
    check(id < maps_.size() && maps_[id].base == kNoMap && written.none(id),
          "an input is no whole map, or twice one");
    check(maps_[id].scale == 1, "an input has a scale of 1");
    written.add(id);
    given_[id] = true;
  }
  for (const Step& step : steps_) {
    for (const MapId id : uses(step).read) {
      check(id < maps_.size() && written.all(id), "a step reads a map that no step wrote before");
    }
    for (const MapId id : uses(step).written) {
      check(id < maps_.size() && written.none(id), "a step writes a map that has been written");
      written.add(id);
    }
    std::visit([this](const auto& s) { check_step(s); }, step);
  }
  for (const MapId id : outputs_) {
    check(id < maps_.size() && maps_[id].base == kNoMap && written.all(id) && !given_[id],
          "an output is no whole map that steps wrote");
    given_[id] = true;
  }
  for (MapId id = 0; id < maps_.size(); ++id) given_[id] = given_[root(id)];
  place_maps();
}

void Program::check_kinds() const {
  for (const MapKind& map : maps_) {
    check(map.channels > 0 && map.channels <= kMostMapChannels && map.halves <= 2,
          "a map has from 1 to 2^20 channels, and at most two halves");
    check(map.scale > 0 && map.scale <= kLargestScale, "a map's scale must be in 1..64");
    if (map.base == kNoMap) {
      check(map.first == 0, "a map that is no part of another one begins with its first channel");
      continue;
    }
    check(map.base < maps_.size() && maps_[map.base].base == kNoMap,
          "a map can be a part of a map that is no part itself");
    const MapKind& base = maps_[map.base];
    check(map.halves == base.halves && map.scale == base.scale && map.first < base.channels &&
              map.channels <= base.channels - map.first,
          "a map that is a part of another one must have some of its channels, of the same kind");
  }
}

void Program::check_map(MapId id, std::size_t channels, std::size_t halves,
                        std::size_t scale) const {
  check(id == kNoMap || (maps_[id].channels == channels && maps_[id].halves == halves &&
                         maps_[id].scale == scale),
        "a step does not fit a map's channels, halves or scale");
}

void Program::check_quantized(const std::shared_ptr<const Quantizer>& quantizer, MapId to,
                              std::size_t channels, std::size_t scale) const {
  check(quantizer != nullptr && to != kNoMap, "a step quantises what it writes");
  check_map(to, channels, quantizer->halves(), scale);
  check(quantizer->channels() == channels, "a quantizer has other channels");
}

void Program::check_network(const Network* network, MapId x, MapId residual, MapId values,
                            MapId activations, std::size_t scale) const {
  check(network != nullptr && x != kNoMap, "layers have an input");
  const Layer &first = network->first(), &last = network->last();
  check(network->out_size(1000) == 1000, "layers of a program have a stride of 1");
  check(maps_[x].channels == first.weights().in_channels && maps_[x].halves >= first.halves(),
        "layers do not fit the map that they read");
  const std::size_t channels = last.weights().out_channels;
  check_map(residual, channels, 0, scale);
  check_map(values, channels, 0, scale);
  check((activations == kNoMap) == (last.end().bits == 0),
        "layers write activations if the last one has a quantizer");
  check(values != kNoMap || activations != kNoMap, "layers write nothing");
  check_map(activations, channels, last.end().halves(), scale);
}

void Program::check_step(const LayersStep& s) const {
  check(s.x != kNoMap, "layers have an input");
  check_network(s.network.get(), s.x, s.residual, s.values, s.activations, maps_[s.x].scale);
}

void Program::check_step(const SubpixelStep& s) const {
  check(s.x != kNoMap, "layers have an input");
  std::size_t up = 1;
  while (up * up < s.phases.size()) ++up;
  check(up * up == s.phases.size(), "there must be a network for each of r x r pixels");
  for (const auto& network : s.phases) {
    check_network(network.get(), s.x, kNoMap, s.values, s.activations, up * maps_[s.x].scale);
  }
}

void Program::check_step(const QuantizeStep& s) const {
  const std::size_t channels = maps_[s.x].channels, scale = maps_[s.x].scale;
  check_map(s.x, channels, 0, scale);
  check_quantized(s.quantizer, s.activations, channels, scale);
}

void Program::check_step(const NormStep& s) const {
  const std::size_t channels = s.weight.size(), scale = maps_[s.x].scale;
  check(channels > 0 && channels <= kMostNormed && s.bias.size() == channels,
        "a norm has weights and biases of up to 2048 channels");
  check_map(s.x, channels, 0, scale);
  check_quantized(s.quantizer, s.activations, channels, scale);
}

void Program::check_step(const AttentionStep& s) const {
  const std::size_t channels = s.value_step.size(), heads = s.scale.size();
  const std::size_t tokens = s.window * s.window, scale = maps_[s.x].scale;
  check(s.window > 0 && s.window <= 8 && s.shift < s.window,
        "the window must be in 1..8, the shift smaller");
  check(heads > 0 && channels > 0 && channels % heads == 0 && channels / heads <= kMostChannels,
        "channels must be in heads of up to 64");
  check(s.inverse_step.size() == 3 * channels && s.bias.size() == heads * tokens * tokens,
        "inverse steps or biases do not fit the heads");
  check_map(s.x, 3 * channels, 0, scale);
  check_quantized(s.quantizer, s.activations, channels, scale);
}

void Program::check_step(const GateStep& s) const {
  const std::size_t channels = maps_[s.x].channels, scale = maps_[s.x].scale;
  for (const MapId id : {s.x, s.gate, s.residual}) check_map(id, channels, 0, scale);
  check_quantized(s.quantizer, s.activations, channels, scale);
}

void Program::check_step(const ElementStep& s) const {
  const std::size_t channels = maps_[s.x].channels, scale = maps_[s.x].scale;
  check((s.y == kNoMap) == (s.element == Element::kSquare), "a square is of x alone");
  check(s.values != kNoMap || s.activations != kNoMap, "a step writes nothing");
  for (const MapId id : {s.x, s.y, s.values}) check_map(id, channels, 0, scale);
  check((s.activations == kNoMap) == (s.quantizer == nullptr),
        "a step writes activations if it has a quantizer");
  if (s.quantizer != nullptr) check_quantized(s.quantizer, s.activations, channels, scale);
}

}  // namespace lic_fast::integer
