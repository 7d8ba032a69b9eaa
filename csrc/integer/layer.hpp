// A layer of a portable network, and several one after another; see lic_fast/ops/integer_layer.py.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/isa.hpp"
#include "integer/conv.hpp"

namespace lic_fast::integer {

/// A layer's parameters as they are given: per output channel, and the border per input channel.
struct Parameters {
  const std::int8_t* weight;  // (out_channels, in_channels / groups, kernel, kernel)
  std::size_t out_channels, in_channels, groups, kernel, stride;
  const std::int32_t* bias;
  const float* scale;
  std::vector<const std::uint8_t*> border;  // of each half
  Activation activation;
  int bits;                   // of the output's activations, 7 or 14; 0: float32
  const float* inverse_step;  // null without bits
  const std::int32_t* zero;
};

/// What a layer reads: (batch, height, width) pixels in one or two halves.
struct Input {
  View<const std::uint8_t> x[2];
  std::size_t batch, height, width;
  bool bordered = false;  // see Problem
};

/// What a layer writes: float32, and the halves of activations if its end has a quantizer.
struct Output {
  View<float> values{};
  View<std::uint8_t> halves[2]{};
};

class Layer {
 public:
  /// Throws std::invalid_argument for numbers that are out of range, and where a sum could leave
  /// 32 bits. Dimensions must fit each other: kernel odd, groups that divide the channels.
  explicit Layer(const Parameters& parameters);

  const Weights& weights() const { return weights_; }
  std::size_t halves() const { return border_.size(); }
  std::size_t stride() const { return stride_; }
  const End& end() const { return end_; }
  std::size_t side() const { return weights_.kernel / 2; }
  const std::vector<std::uint8_t>& border(std::size_t half) const { return border_[half]; }
  std::size_t out_size(std::size_t size) const { return (size + stride_ - 1) / stride_; }

  /// `residual` without data is none. Throws std::invalid_argument for activations beyond 7 bits.
  void run(const Input& input, const View<const float>& residual, const Output& output,
           cpu::Isa isa, unsigned threads) const;

 private:
  Weights weights_;
  std::size_t stride_;
  std::vector<std::vector<std::uint8_t>> border_;
  End end_;
};

/// Layers one after another.
class Network {
 public:
  /// Throws std::invalid_argument if one does not fit the next.
  explicit Network(std::vector<std::shared_ptr<const Layer>> layers);

  const Layer& first() const { return *layers_.front(); }
  const Layer& last() const { return *layers_.back(); }
  std::size_t out_size(std::size_t size) const;

  /// `residual`, or a view without data, is the last layer's. Calls from several threads at once
  /// are separate.
  void run(Input input, const View<const float>& residual, const Output& output, cpu::Isa isa,
           unsigned threads) const;

 private:
  std::vector<std::shared_ptr<const Layer>> layers_;
};

}  // namespace lic_fast::integer
