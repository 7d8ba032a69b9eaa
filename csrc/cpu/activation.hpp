// What follows a convolution or a linear map.

#pragma once

#include <stdexcept>
#include <string>

namespace lic_fast::cpu {

enum class Activation { kNone, kRelu, kLeakyRelu, kGelu };

/// Throws std::invalid_argument for a name that is none of theirs.
inline Activation activation_of_name(const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "relu") return Activation::kRelu;
  if (name == "leaky_relu") return Activation::kLeakyRelu;
  if (name == "gelu") return Activation::kGelu;
  throw std::invalid_argument("the activation must be none, relu, leaky_relu or gelu, not '" +
                              name + "'");
}

}  // namespace lic_fast::cpu
