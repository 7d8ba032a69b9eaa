// Walking over arrays of one shape and any strides, in runs that kernels can take.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <vector>

#include "cpu/thread_pool.hpp"

namespace lic_fast::latents {

/// Floats of any strides.
struct Strided {
  const float* data = nullptr;
  std::vector<std::ptrdiff_t> strides;  // in elements, one for each dimension
};

/// Cuts arrays of one shape into runs along their last dimension.
class Runs {
 public:
  // A run's inputs and outputs stay in the first-level cache.
  static constexpr std::size_t kLongest = 1024;

  Runs(std::vector<std::size_t> shape, std::vector<Strided> arrays)
      : shape_(std::move(shape)), arrays_(std::move(arrays)) {
    merge();
    for (std::size_t i = 0; i + 1 < shape_.size(); ++i) outer_ *= shape_[i];
    inner_ = shape_.back();
    chunks_ = (inner_ + kLongest - 1) / kLongest;
    for (const Strided& array : arrays_) dense_ = dense_ && array.strides.back() == 1;
  }

  /// Calls body(position, count, inputs) for every run, `position` being the number of its first
  /// element in C order and `inputs` the arrays' elements, one after another. On several threads
  /// if there is enough to do.
  template <class Body>
  void each(unsigned threads, const Body& body) const {
    const std::size_t runs = outer_ * chunks_;
    const std::size_t parts = outer_ * inner_ < kWorthThreads ? 1 : std::max(1u, threads);
    cpu::ThreadPool::instance().run(parts, threads, [&](std::size_t part) {
      std::vector<std::array<float, kLongest>> copies(dense_ ? 0 : arrays_.size());
      std::vector<const float*> inputs(arrays_.size());
      for (std::size_t run = runs * part / parts; run < runs * (part + 1) / parts; ++run) {
        // Elements that are not dense share cache lines with those of other rows: take the same
        // chunk of all rows before the next chunk.
        const std::size_t row = dense_ ? run / chunks_ : run % outer_;
        const std::size_t begin = (dense_ ? run % chunks_ : run / outer_) * kLongest;
        const std::size_t count = std::min(kLongest, inner_ - begin);
        for (std::size_t a = 0; a < arrays_.size(); ++a) {
          const std::ptrdiff_t stride = arrays_[a].strides.back();
          const float* from = row_of(arrays_[a], row) + static_cast<std::ptrdiff_t>(begin) * stride;
          inputs[a] = from;
          if (dense_) continue;
          for (std::size_t i = 0; i < count; ++i) {
            copies[a][i] = from[static_cast<std::ptrdiff_t>(i) * stride];
          }
          inputs[a] = copies[a].data();
        }
        body(row * inner_ + begin, count, inputs.data());
      }
    });
  }

 private:
  // About 20 microseconds of work.
  static constexpr std::size_t kWorthThreads = 32768;

  /// Makes one dimension of two neighbours that are one in every array.
  void merge() {
    if (shape_.empty()) {
      shape_.push_back(1);
      for (Strided& array : arrays_) array.strides.push_back(1);
    }
    for (std::size_t d = shape_.size() - 1; d-- > 0;) {
      const auto joined = [&](const Strided& array) {
        return array.strides[d] ==
               array.strides[d + 1] * static_cast<std::ptrdiff_t>(shape_[d + 1]);
      };
      const bool drop = shape_[d] == 1;
      if (!drop && !std::all_of(arrays_.begin(), arrays_.end(), joined)) continue;
      shape_[d + 1] *= shape_[d];
      const auto at = static_cast<std::ptrdiff_t>(d);
      shape_.erase(shape_.begin() + at);
      for (Strided& array : arrays_) array.strides.erase(array.strides.begin() + at);
    }
    if (shape_.back() == 1) {
      for (Strided& array : arrays_) array.strides.back() = 1;
    }
  }

  const float* row_of(const Strided& array, std::size_t row) const {
    const float* at = array.data;
    for (std::size_t d = shape_.size() - 1; d-- > 0;) {
      at += static_cast<std::ptrdiff_t>(row % shape_[d]) * array.strides[d];
      row /= shape_[d];
    }
    return at;
  }

  std::vector<std::size_t> shape_;
  std::vector<Strided> arrays_;
  std::size_t outer_ = 1, inner_ = 0, chunks_ = 0;
  bool dense_ = true;
};

}  // namespace lic_fast::latents
