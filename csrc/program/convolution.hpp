// Convolutions as nodes of a program.

#pragma once

#include <cstddef>
#include <memory>

#include "cpu/activation.hpp"
#include "program/node.hpp"

namespace lic_fast::program {

/// act(conv(x) + bias + residual), whose arrays are the caller's for as long as the node is.
struct Convolution {
  const float* weight;  // (outputs, inputs, kernel, kernel)
  const float* bias;    // (outputs,), or null
  std::size_t outputs, inputs, kernel, stride, padding;
  std::size_t shuffle;  // pixels along a side that one of the result becomes: the outputs are those
                        // of the shuffle x shuffle pixels one after another
  cpu::Activation activation;
  bool residual;  // whether there is a second input, of the output's size and channels
  bool compact;   // whether weights are kept as they are, and transformed whenever they are used
};

/// Throws std::invalid_argument for a convolution that cannot be.
std::unique_ptr<Node> make_convolution(const Convolution& convolution);

}  // namespace lic_fast::program
