#include "integer/layer.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/arena.hpp"

namespace lic_fast::integer {
namespace {

void check(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

/// Numbers of the output channels in the order of the kernels, zero in the padding.
template <class To, class From>
std::vector<To> padded(const Weights& w, const From* values) {
  std::vector<To> all(w.groups * w.blocks * kBlock, To{});
  for (std::size_t m = 0; m < w.out_channels; ++m) {
    all[m / w.group_out * w.blocks * kBlock + m % w.group_out] = static_cast<To>(values[m]);
  }
  return all;
}

/// The largest magnitude of a sum of any of the products, before the bias is added and behind it.
/// Activations are not negative, so that every partial sum lies between those of the negative and
/// the positive weights.
std::int64_t largest_sum(const Parameters& p) {
  const std::int64_t top = (std::int64_t{1} << (kHalfBits * p.border.size())) - 1;
  const std::size_t count = p.in_channels / p.groups * p.kernel * p.kernel;
  std::int64_t largest = 0;
  for (std::size_t m = 0; m < p.out_channels; ++m) {
    std::int64_t positive = 0, negative = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t w = p.weight[m * count + i];
      (w > 0 ? positive : negative) += w;
    }
    const std::int64_t bias = p.bias[m];
    for (const std::int64_t sum : {std::int64_t{0}, positive * top, negative * top}) {
      largest = std::max({largest, std::abs(sum), std::abs(sum + bias)});
    }
  }
  return largest;
}

/// Maps between two layers: in front of `next`, with its border if its weights are dense.
struct Between {
  Between(const Layer& next, std::size_t batch_, std::size_t height_, std::size_t width_)
      : layer(next),
        batch(batch_),
        height(height_),
        width(width_),
        side(next.weights().dense() ? next.side() : 0) {}

  std::size_t size() const {
    return memory_size({batch, rows(), columns(), channels()});
  }  // of one half
  std::size_t rows() const { return height + 2 * side; }
  std::size_t columns() const { return width + 2 * side; }
  std::size_t channels() const { return layer.weights().in_channels; }

  /// Without the border, of the half that begins at `memory`.
  View<std::uint8_t> inside(std::uint8_t* memory) const {
    View<std::uint8_t> view = dense_view(memory, rows(), columns(), channels());
    view.data = view.at<std::size_t>(0, side, side);
    return view;
  }

  void fill_border(std::size_t half, std::uint8_t* memory) const {
    const std::vector<std::uint8_t>& border = layer.border(half);
    const View<std::uint8_t> view = dense_view(memory, rows(), columns(), channels());
    for (std::size_t image = 0; image < batch; ++image) {
      for (std::size_t y = 0; y < rows(); ++y) {
        const bool beyond = y < side || y >= side + height;
        for (std::size_t x = 0; x < columns(); ++x) {
          if (!beyond && x == side) x += width;
          if (x == columns()) break;
          std::memcpy(view.at(image, y, x), border.data(), border.size());
        }
      }
    }
  }

  const Layer& layer;
  std::size_t batch, height, width, side;
};

}  // namespace

Layer::Layer(const Parameters& p)
    : weights_(p.weight, p.out_channels, p.in_channels, p.groups, p.kernel), stride_(p.stride) {
  check(p.stride > 0 && p.stride <= p.kernel, "the stride must be in 1..k");
  check(p.border.size() == 1 || p.border.size() == 2, "there must be one or two borders");
  check(p.bits == 0 || p.bits == kHalfBits || p.bits == 2 * kHalfBits,
        "an activation has 7 or 14 bits");
  const std::int64_t largest = largest_sum(p);
  if (largest > INT32_MAX) {
    throw std::invalid_argument("a sum of these weights and biases may reach " +
                                std::to_string(largest) + ", which 32 bits do not hold");
  }
  for (const std::uint8_t* const border : p.border) {
    border_.emplace_back(border, border + p.in_channels);
    for (const std::uint8_t value : border_.back()) {
      check(value <= kHalfTop, "activations and border must be in 0..127");
    }
  }
  end_.bias = padded<std::int32_t>(weights_, p.bias);
  end_.scale = padded<float>(weights_, p.scale);
  end_.activation = p.activation;
  end_.bits = p.bits;
  if (p.bits == 0) return;
  for (std::size_t m = 0; m < p.out_channels; ++m) {
    check(p.zero[m] >= 0 && p.zero[m] < 1 << p.bits, "a zero must be in 0..2^bits - 1");
  }
  end_.inverse_step = padded<float>(weights_, p.inverse_step);
  end_.zero = padded<float>(weights_, p.zero);
}

void Layer::run(const Input& input, const View<const float>& residual, const Output& output,
                cpu::Isa isa, unsigned threads) const {
  Problem problem{weights_, input.batch, input.height, input.width, stride_, halves(), {}, {}};
  for (std::size_t half = 0; half < halves(); ++half) {
    problem.x[half] = input.x[half];
    problem.border[half] = border_[half].data();
  }
  problem.bordered = input.bordered;
  problem.end = &end_;
  problem.residual = residual;
  problem.values = output.values;
  for (std::size_t half = 0; half < 2; ++half) problem.out[half] = output.halves[half];
  convolve(problem, isa, threads);
}

Network::Network(std::vector<std::shared_ptr<const Layer>> layers) : layers_(std::move(layers)) {
  check(!layers_.empty(), "a network has at least one layer");
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    check(layers_[i] != nullptr, "None is no layer");
    if (i == 0) continue;
    const Layer &before = *layers_[i - 1], &next = *layers_[i];
    check(before.end().bits != 0, "a layer before another must have quantised output");
    check(before.weights().out_channels == next.weights().in_channels,
          "a layer has not the channels that the next one takes");
    check(before.end().halves() >= next.halves(),
          "a layer's output of 7 bits does not fit a next one of two halves");
  }
}

std::size_t Network::out_size(std::size_t size) const {
  for (const auto& layer : layers_) size = layer->out_size(size);
  return size;
}

void Network::run(Input input, const View<const float>& residual, const Output& output,
                  cpu::Isa isa, unsigned threads) const {
  // Two memories, of which each layer reads one and writes the other.
  std::size_t sizes[2] = {};
  std::size_t height = input.height, width = input.width;
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i) {
    height = layers_[i]->out_size(height);
    width = layers_[i]->out_size(width);
    const Layer& next = *layers_[i + 1];
    sizes[i % 2] =
        std::max(sizes[i % 2], next.halves() * Between(next, input.batch, height, width).size());
  }
  const cpu::ArenaPool::Arena scratch(cpu::ArenaPool::scratch, sizes[0] + sizes[1] + kBeyond);
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i) {
    const Layer &layer = *layers_[i], &next = *layers_[i + 1];
    const Between between(next, input.batch, layer.out_size(input.height),
                          layer.out_size(input.width));
    Input read{{}, between.batch, between.height, between.width, next.weights().dense()};
    Output written;
    for (std::size_t half = 0; half < next.halves(); ++half) {
      std::uint8_t* const memory = scratch.bytes() + i % 2 * sizes[0] + half * between.size();
      if (read.bordered) between.fill_border(half, memory);
      const View<std::uint8_t> inside = between.inside(memory);
      written.halves[half] = inside;
      read.x[half] = {inside.data, inside.image, inside.row, inside.pixel};
    }
    layer.run(input, {}, written, isa, threads);
    input = read;
  }
  last().run(input, residual, output, isa, threads);
}

}  // namespace lic_fast::integer
