#include "integer/program.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/arena.hpp"
#include "cpu/thread_pool.hpp"
#include "integer/kernels.hpp"

namespace lic_fast::integer {
namespace {

// Roots are taken of nothing less, so that nothing is divided by zero.
constexpr float kLeastRooted = 0x1p-20f;

template <class T>
View<const T> read_only(const View<T>& view) {
  return {view.data, view.image, view.row, view.pixel};
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
    if (height % s.window != 0 || width % s.window != 0) {
      throw std::invalid_argument("the map must be in whole windows");
    }
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

  void operator()(const ElementStep& s) const {
    const View<const float> x = values(s.x), y = values(s.y);
    const std::size_t channels = kinds_[s.x].channels;
    by_pixel(s.x, [&](std::size_t image, std::size_t row, std::size_t column) {
      for (std::size_t first = 0; first < channels; first += kChunk) {
        const std::size_t count = std::min(kChunk, channels - first);
        float chunk[kChunk];
        float* out = chunk;
        if (s.values != kNoMap) out = places_[s.values].values.at(image, row, column) + first;
        const float* const other = y.data == nullptr ? nullptr : y.at(image, row, column) + first;
        compute(s.element, x.at(image, row, column) + first, other, count, out);
        if (s.activations != kNoMap) {
          quantize(*s.quantizer, out, s.activations, image, row, column, first, count);
        }
      }
    });
  }

  void operator()(const GateStep& s) const {
    const View<const float> x = values(s.x), gate = values(s.gate), residual = values(s.residual);
    const std::size_t channels = kinds_[s.x].channels;
    by_pixel(s.x, [&](std::size_t image, std::size_t row, std::size_t column) {
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
  static constexpr std::size_t kChunk = 8 * kBlock;

  static void compute(Element element, const float* x, const float* y, std::size_t count,
                      float* out) {
    const auto rooted = [y](std::size_t i) {
      return std::sqrt(y[i] > kLeastRooted ? y[i] : kLeastRooted);
    };
    for (std::size_t i = 0; i < count; ++i) {
      switch (element) {
        case Element::kSum:
          out[i] = x[i] + y[i];
          break;
        case Element::kSquare:
          out[i] = x[i] * x[i];
          break;
        case Element::kTimesRoot:
          out[i] = x[i] * rooted(i);
          break;
        case Element::kOverRoot:
          out[i] = x[i] / rooted(i);
          break;
      }
    }
  }

  Input input(const Network& network, MapId x) const {
    const Layer& first = network.first();
    const std::size_t scale = kinds_[x].scale;
    Input input{{}, batch_, height_ * scale, width_ * scale};
    for (std::size_t half = 0; half < first.halves(); ++half) {
      input.x[half] = read_only(places_[x].halves[half]);
    }
    // Of a layer of one tap there is nothing beyond the edges.
    input.bordered =
        !given_[x] && kinds_[x].base == kNoMap && first.side() == 0 && first.weights().dense();
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

void Program::place_maps() {
  std::vector<std::size_t> last_use(maps_.size(), 0);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    for (const MapId id : uses(steps_[i]).read) last_use[root(id)] = i;
    for (const MapId id : uses(steps_[i]).written) last_use[root(id)] = i;
  }
  offsets_.assign(maps_.size(), 0);
  std::vector<bool> placed = given_;
  Layout layout;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    for (const MapId any : uses(steps_[i]).written) {
      const MapId id = root(any);
      if (placed[id]) continue;
      placed[id] = true;
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
  const cpu::ArenaPool::Arena scratch(cpu::ArenaPool::maps,
                                      memory_size({pixels, bytes_}) + kBeyond);
  std::vector<Place> places(maps_.size());
  for (std::size_t i = 0; i < inputs_.size(); ++i) places[inputs_[i]] = inputs[i];
  for (std::size_t i = 0; i < outputs_.size(); ++i) places[outputs_[i]] = outputs[i];
  for (MapId id = 0; id < maps_.size(); ++id) {
    const MapKind& map = maps_[id];
    if (given_[id] || map.base != kNoMap) continue;
    std::uint8_t* const memory = scratch.bytes() + pixels * offsets_[id];
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
  for (MapId id = 0; id < maps_.size(); ++id) {
    const auto& [channels, halves, scale, base, first] = maps_[id];
    if (base == kNoMap) continue;
    places[id] = places[base];
    if (halves == 0) places[id].values.data += first;
    for (std::size_t half = 0; half < halves; ++half) places[id].halves[half].data += first;
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
