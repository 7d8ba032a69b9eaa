// The nodes of linear maps, of single elements and of pixels' places. Weights are the caller's and
// stay where they are as long as the node; a factory throws std::invalid_argument where numbers do
// not fit each other.

#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "cpu/activation.hpp"
#include "program/node.hpp"

namespace lic_fast::program {

/// A node that computes each pixel from the same pixel of its inputs, which are of one size.
class PixelNode : public Node {
 public:
  Size output_size(const std::vector<Size>& inputs) const override;
  Rows needs(std::size_t input, Rows rows, const std::vector<Size>& inputs,
             Size output) const override;
};

/// A layer norm's parameters, (channels,); of no norm the pointers are null.
struct Norm {
  const float *weight = nullptr, *bias = nullptr;
  float epsilon = 0;
};

/// activation(norm(x) W^T + bias + residual).
struct Linear {
  const float *weight, *bias;  // (outputs, inputs); (outputs,) or null
  std::size_t outputs, inputs;
  cpu::Activation activation;
  Norm norm;
};
/// The first input is x, the second one the residual, where there is one.
std::unique_ptr<Node> make_linear(const Linear& linear);

/// activation(norm(x) W1^T + b1) W2^T + b2 + residual.
struct FeedForward {
  Linear first;                // with norm and activation
  const float *weight, *bias;  // (outputs, first.outputs); (outputs,) or null
  std::size_t outputs;
};
/// Inputs as of make_linear.
std::unique_ptr<Node> make_feed_forward(const FeedForward& halves);

/// x / sqrt(x^2 gamma^T + beta), or inverse, x times that root; gamma is (channels, channels).
std::unique_ptr<Node> make_gdn(const float* gamma, const float* beta, std::size_t channels,
                               bool inverse);

std::unique_ptr<Node> make_layer_norm(const Norm& norm);

/// `kind` is one of relu, leaky_relu (number: slope), gelu (erf), sigmoid, tanh, exp, square, sqrt,
/// abs, negate, scale (times number) and shift (plus number).
std::unique_ptr<Node> make_unary(const std::string& kind, float number);

/// `kind` is one of add (x + number y), multiply, divide, subtract, maximum and minimum.
std::unique_ptr<Node> make_binary(const std::string& kind, float number);

/// values * sigmoid(logits) + skip, in this order.
std::unique_ptr<Node> make_gate();

std::unique_ptr<Node> make_copy();

/// Blocks of r x r pixels as pixels of r r times the channels: of the pixel in row i and column j
/// of a block from channel (i r + j) channels on; columns_first: (j r + i).
std::unique_ptr<Node> make_space_to_depth(std::size_t r, bool columns_first);

/// The inverse of make_space_to_depth(r, false).
std::unique_ptr<Node> make_depth_to_space(std::size_t r);

}  // namespace lic_fast::program
