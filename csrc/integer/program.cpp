#include "integer/program.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/process.hpp"
#include "cpu/thread_pool.hpp"
#include "integer/kernels.hpp"
#include "integer/scratch.hpp"

namespace lic_fast::integer {
namespace {

// Of a map's sides to those of the inputs.
constexpr std::size_t kLargestScale = 64;

void check(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

/// Never destroyed, as the pool's threads are not.
ScratchPool& own_maps() {
  static cpu::PerProcess<ScratchPool> pool;
  return pool.get();
}

template <class T>
View<const T> read_only(const View<T>& view) {
  return {view.data, view.image, view.row, view.pixel};
}

/// The maps that a step reads, and those that it writes.
struct Uses {
  std::vector<MapId> read, written;
};

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
  }
  for (auto* ids : {&all.read, &all.written}) {
    ids->erase(std::remove(ids->begin(), ids->end(), kNoMap), ids->end());
  }
  return all;
}

/// Where maps lie that are needed at the same time: each in the first gap that holds it.
class Layout {
 public:
  std::size_t place(MapId id, std::size_t bytes) {
    std::size_t offset = 0;
    auto before = taken_.begin();
    for (; before != taken_.end() && before->offset < offset + bytes; ++before) {
      offset = before->offset + before->bytes;
    }
    taken_.insert(before, {id, offset, bytes});
    return offset;
  }
  void free(MapId id) {
    taken_.erase(std::remove_if(taken_.begin(), taken_.end(),
                                [id](const Taken& taken) { return taken.id == id; }),
                 taken_.end());
  }

 private:
  struct Taken {
    MapId id;
    std::size_t offset, bytes;
  };
  std::vector<Taken> taken_;  // by offset
};

/// A call of a program.
class Run {
 public:
  Run(const std::vector<MapKind>& kinds, std::vector<Place> places, const std::vector<bool>& given,
      std::size_t batch, std::size_t height, std::size_t width, cpu::Isa isa, unsigned threads)
      : kinds_(kinds),
        places_(std::move(places)),
        given_(given),
        batch_(batch),
        height_(height),
        width_(width),
        isa_(isa),
        threads_(threads),
        kernels_(kernels(isa)) {}

  void operator()(const LayersStep& s) const {
    s.network->run(input(*s.network, s.x), values(s.residual), output(s.values, s.activations),
                   isa_, threads_);
  }

  void operator()(const SubpixelStep& s) const {
    const std::size_t scale =
        s.values == kNoMap ? kinds_[s.activations].scale : kinds_[s.values].scale;
    const std::size_t up = scale / kinds_[s.x].scale;
    const Output all = output(s.values, s.activations);
    for (std::size_t k = 0; k < s.phases.size(); ++k) {
      const Output own{
          phase(all.values, k / up, k % up, up),
          {phase(all.halves[0], k / up, k % up, up), phase(all.halves[1], k / up, k % up, up)}};
      s.phases[k]->run(input(*s.phases[k], s.x), {}, own, isa_, threads_);
    }
  }

  void operator()(const QuantizeStep& s) const {
    const View<const float> x = values(s.x);
    by_pixel(s.x, [&](std::size_t image, std::size_t row, std::size_t column) {
      quantize(*s.quantizer, x.at(image, row, column), s.activations, image, row, column);
    });
  }

  void operator()(const NormStep& s) const {
    const View<const float> x = values(s.x);
    const Norm norm{s.weight.data(), s.bias.data(), s.inverse_step, s.epsilon};
    by_pixel(s.x, [&](std::size_t image, std::size_t row, std::size_t column) {
      float normed[kMostNormed];
      kernels_.layer_norm(x.at(image, row, column), s.weight.size(), norm, normed);
      quantize(*s.quantizer, normed, s.activations, image, row, column);
    });
  }

  void operator()(const AttentionStep& s) const {
    const std::size_t height = height_ * kinds_[s.x].scale, width = width_ * kinds_[s.x].scale;
    check(height % s.window == 0 && width % s.window == 0, "the map must be in whole windows");
    Attention attention{batch_,
                        height,
                        width,
                        s.value_step.size(),
                        s.scale.size(),
                        s.window,
                        s.shift,
                        values(s.x),
                        s.inverse_step.data(),
                        s.scale.data(),
                        s.bias.data(),
                        s.value_step.data(),
                        {},
                        s.quantizer.get(),
                        {places_[s.activations].halves[0], places_[s.activations].halves[1]}};
    attend(attention, isa_, threads_);
  }

  void operator()(const GateStep& s) const {
    const View<const float> x = values(s.x), gate = values(s.gate), residual = values(s.residual);
    const std::size_t channels = kinds_[s.x].channels;
    by_pixel(s.x, [&](std::size_t image, std::size_t row, std::size_t column) {
      constexpr std::size_t kChunk = 8 * kBlock;
      for (std::size_t first = 0; first < channels; first += kChunk) {
        const std::size_t count = std::min(kChunk, channels - first);
        float chunk[kChunk];
        kernels_.sigmoid(gate.at(image, row, column) + first, count, chunk);
        kernels_.gated(x.at(image, row, column) + first, chunk,
                       residual.at(image, row, column) + first, count, chunk);
        quantize(*s.quantizer, chunk, s.activations, image, row, column, first, count);
      }
    });
  }

 private:
  Input input(const Network& network, MapId x) const {
    const Layer& first = network.first();
    const std::size_t scale = kinds_[x].scale;
    Input input{{}, batch_, height_ * scale, width_ * scale};
    for (std::size_t half = 0; half < first.halves(); ++half) {
      input.x[half] = read_only(places_[x].halves[half]);
    }
    // Of a layer of one tap there is nothing beyond the edges.
    input.bordered = !given_[x] && first.side() == 0 && first.weights().dense();
    return input;
  }

  Output output(MapId values, MapId activations) const {
    Output output;
    if (values != kNoMap) output.values = places_[values].values;
    if (activations != kNoMap) {
      for (int half = 0; half < 2; ++half) output.halves[half] = places_[activations].halves[half];
    }
    return output;
  }

  /// Every r-th pixel of each r-th row, from (row, column) on.
  template <class T>
  static View<T> phase(const View<T>& all, std::size_t row, std::size_t column, std::size_t r) {
    if (all.data == nullptr) return {};
    const auto step = static_cast<std::ptrdiff_t>(r);
    return {all.at(std::size_t{0}, row, column), all.image, all.row * step, all.pixel * step};
  }

  View<const float> values(MapId id) const {
    return id == kNoMap ? View<const float>{} : read_only(places_[id].values);
  }

  /// Channels of a pixel, all or `count` from `first` on, where `x` begins.
  void quantize(const Quantizer& quantizer, const float* x, MapId to, std::size_t image,
                std::size_t row, std::size_t column, std::size_t first = 0,
                std::size_t count = 0) const {
    std::uint8_t* halves[2] = {};
    for (std::size_t half = 0; half < quantizer.halves(); ++half) {
      halves[half] = places_[to].halves[half].at(image, row, column) + first;
    }
    quantizer.run(kernels_, x, first, count == 0 ? quantizer.channels() : count, halves[0],
                  halves[1]);
  }

  template <class Task>
  void by_pixel(MapId id, const Task& task) const {
    const std::size_t height = height_ * kinds_[id].scale, width = width_ * kinds_[id].scale;
    cpu::ThreadPool::instance().run(batch_ * height, threads_, [&](std::size_t i) {
      for (std::size_t column = 0; column < width; ++column) {
        task(i / height, i % height, column);
      }
    });
  }

  const std::vector<MapKind>& kinds_;
  const std::vector<Place> places_;
  const std::vector<bool>& given_;
  const std::size_t batch_, height_, width_;
  const cpu::Isa isa_;
  const unsigned threads_;
  const Kernels& kernels_;
};

}  // namespace

Program::Program(std::vector<MapKind> maps, std::vector<Step> steps, std::vector<MapId> inputs,
                 std::vector<MapId> outputs)
    : maps_(std::move(maps)),
      steps_(std::move(steps)),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      given_(maps_.size(), false) {
  for (const MapKind& map : maps_) {
    check(map.channels > 0 && map.halves <= 2, "a map has channels, and at most two halves");
    check(map.scale > 0 && map.scale <= kLargestScale, "a map's scale must be in 1..64");
  }
  std::vector<bool> written(maps_.size(), false);
  for (const MapId id : inputs_) {
    check(id < maps_.size() && !written[id], "an input is no map, or twice one");
    check(maps_[id].scale == 1, "an input has a scale of 1");
    written[id] = given_[id] = true;
  }
  for (const Step& step : steps_) {
    for (const MapId id : uses(step).read) {
      check(id < maps_.size() && written[id], "a step reads a map that nobody wrote");
    }
    for (const MapId id : uses(step).written) {
      check(id < maps_.size() && !written[id], "a step writes a map that has been written");
      written[id] = true;
    }
    std::visit([this](const auto& s) { check_step(s); }, step);
  }
  for (const MapId id : outputs_) {
    check(id < maps_.size() && written[id] && !given_[id], "an output is no map that a step wrote");
    given_[id] = true;
  }
  place_maps();
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
  const auto& [channels, halves, scale] = maps_[s.x];
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

void Program::place_maps() {
  std::vector<std::size_t> last_use(maps_.size(), 0);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    for (const MapId id : uses(steps_[i]).read) last_use[id] = i;
    for (const MapId id : uses(steps_[i]).written) last_use[id] = i;
  }
  offsets_.assign(maps_.size(), 0);
  Layout layout;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    for (const MapId id : uses(steps_[i]).written) {
      if (given_[id]) continue;
      offsets_[id] = layout.place(id, maps_[id].bytes());
      bytes_ = std::max(bytes_, offsets_[id] + maps_[id].bytes());
    }
    for (MapId id = 0; id < maps_.size(); ++id) {
      if (last_use[id] == i) layout.free(id);
    }
  }
}

void Program::run(std::size_t batch, std::size_t height, std::size_t width,
                  const std::vector<Place>& inputs, const std::vector<Place>& outputs, cpu::Isa isa,
                  unsigned threads) const {
  const std::size_t pixels = memory_size({batch, height, width});
  ScratchPool::Scratch scratch(own_maps(), memory_size({pixels, bytes_}) + kBeyond);
  std::vector<Place> places(maps_.size());
  for (std::size_t i = 0; i < inputs_.size(); ++i) places[inputs_[i]] = inputs[i];
  for (std::size_t i = 0; i < outputs_.size(); ++i) places[outputs_[i]] = outputs[i];
  for (MapId id = 0; id < maps_.size(); ++id) {
    if (given_[id]) continue;
    const MapKind& map = maps_[id];
    std::uint8_t* const memory = scratch.data() + pixels * offsets_[id];
    const std::size_t rows = height * map.scale, columns = width * map.scale;
    if (map.halves == 0) {
      // Aligned: the memory is, and offsets are multiples of four.
      places[id].values = dense_view(reinterpret_cast<float*>(memory), rows, columns, map.channels);
    }
    for (std::size_t half = 0; half < map.halves; ++half) {
      std::uint8_t* const own = memory + half * batch * rows * columns * map.channels;
      places[id].halves[half] = dense_view(own, rows, columns, map.channels);
    }
  }
  const Run call(maps_, std::move(places), given_, batch, height, width, isa, threads);
  for (const Step& step : steps_) std::visit(call, step);
}

void run_side_by_side(const std::vector<Call>& calls, cpu::Isa isa, unsigned threads) {
  cpu::ThreadPool& pool = cpu::ThreadPool::instance();
  // Where there is a thread for each they need not wait for each other behind every step.
  const auto count = static_cast<unsigned>(calls.size());
  const unsigned each = std::max(1u, threads / std::max(1u, count));
  pool.prepare(threads);
  pool.run(calls.size(), std::min(threads, count), [&](std::size_t i) {
    const Call& c = calls[i];
    c.program->run(c.batch, c.height, c.width, c.inputs, c.outputs, isa, each);
  });
}

}  // namespace lic_fast::integer
