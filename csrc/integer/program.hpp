// Steps of a portable network on maps, in one call: layers, norms, window attention and gates; see
// lic_fast/ops/integer_program.py.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "cpu/isa.hpp"
#include "integer/layer.hpp"
#include "integer/quantizer.hpp"
#include "integer/transformer.hpp"

namespace lic_fast::integer {

/// A map of a program by its number, or none.
using MapId = std::size_t;
inline constexpr MapId kNoMap = static_cast<MapId>(-1);

/// What a map holds of each pixel: float32, or so many halves of activations. Its sides are `scale`
/// times those of the inputs. It may be some of the channels of another map, `base`, from `first`
/// on, and has no memory of its own then.
struct MapKind {
  std::size_t channels, halves = 0, scale = 1;
  MapId base = kNoMap;
  std::size_t first = 0;
  /// In memory, for one pixel of the inputs, up to whole floats.
  std::size_t bytes() const {
    const std::size_t each =
        halves == 0 ? channels * sizeof(float) : (channels * halves + 3) / 4 * 4;
    return memory_size({each, scale, scale});
  }
};

/// Layers of stride 1 on activations. Writes values, activations, or both.
struct LayersStep {
  std::shared_ptr<const Network> network;
  MapId x, residual = kNoMap, values = kNoMap, activations = kNoMap;
};
/// A layer to r x r times the channels and a pixel shuffle: a network for each of the r x r pixels,
/// by rows, which is of a single layer. Writes values, activations, or both.
struct SubpixelStep {
  std::vector<std::shared_ptr<const Network>> phases;
  MapId x, values = kNoMap, activations = kNoMap;
};
/// Activations of values.
struct QuantizeStep {
  std::shared_ptr<const Quantizer> quantizer;
  MapId x, activations;
};
/// Activations of the norm of each pixel's channels.
struct NormStep {
  std::vector<float> weight, bias;
  float inverse_step, epsilon;
  std::shared_ptr<const Quantizer> quantizer;
  MapId x, activations;
};
/// Activations of window attention.
struct AttentionStep {
  std::vector<float> inverse_step, scale, bias, value_step;  // see Attention
  std::size_t window, shift;
  std::shared_ptr<const Quantizer> quantizer;
  MapId x, activations;
};
/// Activations of x * sigmoid(gate) + residual.
struct GateStep {
  std::shared_ptr<const Quantizer> quantizer;
  MapId x, gate, residual, activations;
};

/// What is computed of each number of x, and of y. Roots are of y, or of 2^-20 if it is less.
enum class Element { kSum, kSquare, kTimesRoot, kOverRoot };
/// x + y, x * x, x * sqrt(y) or x / sqrt(y). Writes values, activations, or both.
struct ElementStep {
  Element element;
  std::shared_ptr<const Quantizer> quantizer;  // null without activations
  MapId x, y = kNoMap, values = kNoMap, activations = kNoMap;
};

using Step = std::variant<LayersStep, SubpixelStep, QuantizeStep, NormStep, AttentionStep, GateStep,
                          ElementStep>;

/// The maps that a step reads, and those that it writes.
struct Uses {
  std::vector<MapId> read, written;
};
Uses uses(const Step& step);

/// Where a map is that the caller reads or gives.
struct Place {
  View<float> values{};
  View<std::uint8_t> halves[2]{};
};

/// Steps one after another, each of which writes channels that no step wrote before. Maps that are
/// neither read from the caller nor given to it lie in memory that is kept for the next call.
class Program {
 public:
  /// Throws std::invalid_argument where a step does not fit its maps, or reads one that nobody
  /// wrote.
  Program(std::vector<MapKind> maps, std::vector<Step> steps, std::vector<MapId> inputs,
          std::vector<MapId> outputs);

  const MapKind& map(MapId id) const { return maps_[id]; }
  const std::vector<MapId>& inputs() const { return inputs_; }
  const std::vector<MapId>& outputs() const { return outputs_; }

  /// On inputs of (batch, height, width) pixels, with the places of these, which are not written,
  /// and of the outputs, which may be read too. Calls from several threads at once are separate.
  /// Throws std::invalid_argument for sides that are no whole windows, and for inputs beyond 7
  /// bits.
  void run(std::size_t batch, std::size_t height, std::size_t width,
           const std::vector<Place>& inputs, const std::vector<Place>& outputs, cpu::Isa isa,
           unsigned threads) const;

 private:
  void check_map(MapId id, std::size_t channels, std::size_t halves, std::size_t scale) const;
  void check_quantized(const std::shared_ptr<const Quantizer>& quantizer, MapId to,
                       std::size_t channels, std::size_t scale) const;
  void check_network(const Network* network, MapId x, MapId residual, MapId values,
                     MapId activations, std::size_t scale) const;
  void check_step(const LayersStep& step) const;
  void check_step(const SubpixelStep& step) const;
  void check_step(const QuantizeStep& step) const;
  void check_step(const NormStep& step) const;
  void check_step(const AttentionStep& step) const;
  void check_step(const GateStep& step) const;
  void check_step(const ElementStep& step) const;
  void check_kinds() const;
  /// The map that has the memory of this one.
  MapId root(MapId id) const { return maps_[id].base == kNoMap ? id : maps_[id].base; }
  void place_maps();

  std::vector<MapKind> maps_;
  std::vector<Step> steps_;
  std::vector<MapId> inputs_, outputs_;
  std::vector<bool> given_;           // whether a map's memory is the caller's
  std::vector<std::size_t> offsets_;  // of the program's own maps, in bytes for an input's pixel
  std::size_t bytes_ = 0;             // of all of them together, for an input's pixel
};

/// A call of a program; see Program::run.
struct Call {
  const Program* program;
  std::size_t batch, height, width;
  std::vector<Place> inputs, outputs;
};

/// Calls that write nothing that another one reads or writes, each on its share of the threads.
void run_side_by_side(const std::vector<Call>& calls, cpu::Isa isa, unsigned threads);

}  // namespace lic_fast::integer
