// The exception for a stream that no encoder wrote.

#pragma once

#include <stdexcept>

namespace lic_fast::ans {

/// Surfaces in Python as lic_fast.errors.StreamError.
class StreamError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace lic_fast::ans
