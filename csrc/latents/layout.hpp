// Tensors of any layout as rows of floats that lie side by side.

#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "cpu/thread_pool.hpp"
#include "latents/kernels.hpp"

namespace lic_fast::latents {

/// N tensors of one shape. Strides count floats.
template <std::size_t N>
struct Tensors {
  struct Dimension {
    std::size_t size;
    std::array<std::ptrdiff_t, N> strides;
  };

  std::array<const float*, N> data;
  std::vector<Dimension> dimensions;

  std::size_t size() const {
    std::size_t size = 1;
    for (const Dimension& dimension : dimensions) size *= dimension.size;
    return size;
  }
};

/// Visits tensors in tiles: rows of consecutive elements, which are copied, and so transposed where
/// need be, only of tensors in which they do not lie side by side.
template <std::size_t N>
class Tiles {
 public:
  explicit Tiles(const Tensors<N>& tensors) : data_(tensors.data) {
    for (const Dimension& dimension : tensors.dimensions) append(dimension);
    if (outer_.empty()) outer_.push_back({1, {}});
    columns_ = outer_.back();
    outer_.pop_back();
    place_.assign(outer_.size(), 1);
    std::size_t place = columns_.size;
    for (std::size_t d = outer_.size(); d-- > 0; place *= outer_[d].size) place_[d] = place;

    if (!outer_.empty()) {
      const std::size_t chosen = rows_dimension();
      rows_ = outer_[chosen];
      row_place_ = place_[chosen];
      outer_.erase(outer_.begin() + static_cast<std::ptrdiff_t>(chosen));
      place_.erase(place_.begin() + static_cast<std::ptrdiff_t>(chosen));
    }
    const bool copies = std::any_of(columns_.strides.begin(), columns_.strides.end(),
                                    [](std::ptrdiff_t stride) { return stride != 1; });
    tile_columns_ = std::min(columns_.size, copies ? kCopiedColumns : kTileSize);
    tile_rows_ = std::min(rows_.size, kTileSize / std::max<std::size_t>(tile_columns_, 1));
    across_ = ceiling(columns_.size, tile_columns_);
    down_ = ceiling(rows_.size, tile_rows_);
    count_ = across_ * down_;
    for (const Dimension& dimension : outer_) count_ *= dimension.size;
  }

  std::size_t count() const { return count_; }

  /// Calls row(inputs, place, size) for each row of a tile: where it begins in each tensor, the
  /// number of its first element in the order of the dimensions, and its length. Returns the
  /// largest of what that returns.
  template <class Row>
  std::uint32_t visit(std::size_t tile, const Kernels& kernels, const Row& row) const {
    alignas(64) float copies[N][kTileSize];
    const std::size_t column = tile % across_ * tile_columns_;
    tile /= across_;
    const std::size_t first = tile % down_ * tile_rows_;
    tile /= down_;
    std::size_t place = column + first * row_place_;
    std::array<std::ptrdiff_t, N> offsets;
    for (std::size_t i = 0; i < N; ++i) {
      offsets[i] = at(columns_.strides[i], column) + at(rows_.strides[i], first);
    }
    for (std::size_t d = outer_.size(); d-- > 0; tile /= outer_[d].size) {
      const std::size_t index = tile % outer_[d].size;
      place += index * place_[d];
      for (std::size_t i = 0; i < N; ++i) offsets[i] += at(outer_[d].strides[i], index);
    }

    const std::size_t rows = std::min(tile_rows_, rows_.size - first);
    const std::size_t columns = std::min(tile_columns_, columns_.size - column);
    std::array<const float*, N> inputs;
    std::array<std::ptrdiff_t, N> steps;
    for (std::size_t i = 0; i < N; ++i) {
      inputs[i] = data_[i] + offsets[i];
      steps[i] = rows_.strides[i];
      if (columns_.strides[i] == 1) continue;
      copy(kernels, inputs[i], rows_.strides[i], columns_.strides[i], rows, columns, copies[i]);
      inputs[i] = copies[i];
      steps[i] = static_cast<std::ptrdiff_t>(columns);
    }
    std::uint32_t largest = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      std::array<const float*, N> starts;
      for (std::size_t i = 0; i < N; ++i) starts[i] = inputs[i] + at(steps[i], r);
      largest = std::max(largest, row(starts, place + r * row_place_, columns));
    }
    return largest;
  }

 private:
  using Dimension = typename Tensors<N>::Dimension;

  static constexpr std::size_t kTileSize = 4096;      // floats: three tiles lie in the L1 cache
  static constexpr std::size_t kCopiedColumns = 256;  // so that a transposition has rows too

  static std::ptrdiff_t at(std::ptrdiff_t stride, std::size_t index) {
    return stride * static_cast<std::ptrdiff_t>(index);
  }
  static std::size_t ceiling(std::size_t size, std::size_t part) {
    return part == 0 ? 0 : (size + part - 1) / part;
  }

  /// Dimensions that every tensor steps through as if they were one become one.
  void append(const Dimension& dimension) {
    if (dimension.size == 1) return;
    if (!outer_.empty()) {
      Dimension& last = outer_.back();
      bool alike = true;
      for (std::size_t i = 0; i < N; ++i) {
        alike = alike && last.strides[i] == at(dimension.strides[i], dimension.size);
      }
      if (alike) {
        last = {last.size * dimension.size, dimension.strides};
        return;
      }
    }
    outer_.push_back(dimension);
  }

  /// The dimension in which most tensors lie side by side; or the last.
  std::size_t rows_dimension() const {
    const auto unit_strides = [this](std::size_t d) {
      return std::count(outer_[d].strides.begin(), outer_[d].strides.end(), 1);
    };
    std::size_t best = outer_.size() - 1;
    for (std::size_t d = best; d-- > 0;) {
      if (unit_strides(d) > unit_strides(best)) best = d;
    }
    return best;
  }

  static void copy(const Kernels& kernels, const float* from, std::ptrdiff_t row_stride,
                   std::ptrdiff_t column_stride, std::size_t rows, std::size_t columns, float* to) {
    if (row_stride == 1) {
      kernels.transpose(from, column_stride, rows, columns, to);
      return;
    }
    for (std::size_t row = 0; row < rows; ++row) {
      const float* source = from + at(row_stride, row);
      for (std::size_t column = 0; column < columns; ++column) {
        *to++ = source[at(column_stride, column)];
      }
    }
  }

  std::array<const float*, N> data_;
  std::vector<Dimension> outer_;
  std::vector<std::size_t> place_;  // of outer_: how many elements a step is in a dense tensor
  Dimension rows_{1, {}}, columns_{1, {}};
  std::size_t row_place_ = 0;
  std::size_t tile_rows_ = 0, tile_columns_ = 0, down_ = 0, across_ = 0, count_ = 0;
};

/// Tiles::visit for all rows of the tensors.
template <std::size_t N, class Row>
std::uint32_t for_each_row(const Tensors<N>& tensors, const Kernels& kernels, unsigned threads,
                           const Row& row) {
  // Less is done before another thread is awake.
  constexpr std::size_t kTaskSize = 1u << 18;
  const Tiles<N> tiles(tensors);
  const std::size_t size = tensors.size();
  const std::size_t tasks =
      threads <= 1 ? 1 : std::clamp<std::size_t>(size / kTaskSize, 1, 8 * std::size_t{threads});
  std::atomic<std::uint32_t> largest{0};
  cpu::ThreadPool::instance().run(tasks, threads, [&](std::size_t task) {
    std::uint32_t mine = 0;
    const std::size_t end = tiles.count() * (task + 1) / tasks;
    for (std::size_t tile = tiles.count() * task / tasks; tile < end; ++tile) {
      mine = std::max(mine, tiles.visit(tile, kernels, row));
    }
    std::uint32_t seen = largest.load();
    while (seen < mine && !largest.compare_exchange_weak(seen, mine)) {
    }
  });
  return largest.load();
}

}  // namespace lic_fast::latents
