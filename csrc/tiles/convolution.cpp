#include "tiles/convolution.hpp"

#include <cstring>
#include <stdexcept>

#include "cpu/bfloat16.hpp"
#include "cpu/thread_pool.hpp"

namespace lic_fast::tiles {
namespace {

// A task's tiles of a row, and its pixels at most: a nearly square part of the map, which has few
// neighbours of other tasks, and enough pixels to use weights for that come from memory.
constexpr std::size_t kAcross = 4, kMostPixels = 1024;
// Numbers that these read at most, without the border, so that they stay in the second cache.
constexpr std::size_t kMostNumbers = 400000;

/// The rows of the input that a task's pixels read, with their border, in memory that the thread
/// keeps for it.
class Padded {
 public:
  explicit Padded(const Part& part)
      : problem_(part.problem),
        inputs_(problem_.weights.inputs),
        side_(problem_.weights.kernel / 2),
        first_row_(part.row * problem_.stride),
        first_column_(problem_.tile_begin(part.tile) * problem_.stride) {
    static thread_local cpu::Lines<std::uint16_t> memory;
    const std::size_t last = problem_.tile_begin(part.tile + part.tiles - 1);
    const std::size_t pixels = last + problem_.tile_size() - problem_.tile_begin(part.tile);
    const std::size_t lines = (part.rows - 1) * problem_.stride + problem_.weights.kernel;
    columns_ = (pixels - 1) * problem_.stride + problem_.weights.kernel;
    // With room for the last pixel to be read as a whole tile's row.
    data_ = cpu::scratch(memory, lines * row() + kInputs);
    for (std::size_t line = 0; line < lines; ++line) fill(part.image, line);
  }

  const std::uint16_t* data() const { return data_; }
  /// Numbers of a row.
  std::size_t row() const { return columns_ * inputs_; }

 private:
  void fill(std::size_t image, std::size_t line) const {
    std::uint16_t* const to = data_ + line * row();
    const std::size_t y = first_row_ + line;  // as below, from the border's first one
    if (y < side_ || y - side_ >= problem_.height) {
      std::fill_n(to, row(), std::uint16_t{0});
      return;
    }
    const std::size_t edge = side_ + problem_.width;
    const std::size_t begin = std::min(std::max(first_column_, side_), edge);
    const std::size_t end = std::max(begin, std::min(first_column_ + columns_, edge));
    std::uint16_t* const inside = to + (begin - first_column_) * inputs_;
    std::uint16_t* const behind = inside + (end - begin) * inputs_;
    std::fill(to, inside, std::uint16_t{0});
    std::fill(behind, to + row(), std::uint16_t{0});
    const Map<const std::uint16_t>& x = problem_.x;
    const std::uint16_t* from =
        x.data + image * x.image + (y - side_) * x.row + (begin - side_) * x.pixel;
    if (x.pixel == inputs_) {
      std::copy_n(from, (end - begin) * inputs_, inside);
      return;
    }
    for (std::uint16_t* pixel = inside; pixel != behind; pixel += inputs_, from += x.pixel) {
      std::copy_n(from, inputs_, pixel);
    }
  }

  const Problem& problem_;
  const std::size_t inputs_, side_, first_row_, first_column_;
  std::size_t columns_;
  std::uint16_t* data_;
};

/// All that each pixel's taps read, side by side: (part.rows, pixels, run_size).
const std::uint16_t* unfold(const Part& part, const Padded& padded, std::size_t pixels) {
  static thread_local cpu::Lines<std::uint16_t> memory;
  const Weights& w = part.problem.weights;
  const std::size_t size = w.run_size(), row = w.row_size();
  std::uint16_t* const data = cpu::scratch(memory, part.rows * pixels * size + kInputs);
  std::uint16_t* to = data;
  // Copies of one size are a few instructions. What they write too much is overwritten next.
  constexpr std::size_t kBytes = kInputs * sizeof(std::uint16_t);
  for (std::size_t y = 0; y < part.rows; ++y) {
    const std::uint16_t* from = padded.data() + y * part.problem.stride * padded.row();
    for (std::size_t i = 0; i < pixels; ++i, to += size, from += part.problem.stride * w.inputs) {
      std::memset(to, 0, kBytes);
      std::uint16_t* taps = to + w.zeros();
      for (std::size_t tap = 0; tap < w.kernel; ++tap, taps += row) {
        std::memcpy(taps, from + tap * padded.row(), kBytes);
      }
    }
  }
  return data;
}

void compute_task(Part part) {
  const Problem& p = part.problem;
  const Weights& w = p.weights;
  if (w.kernel == 1 && !w.unfolded()) {
    part.x = p.x.data + part.image * p.x.image + part.row * p.stride * p.x.row +
             p.tile_begin(part.tile) * p.stride * p.x.pixel;
    part.next_pixel = p.stride * p.x.pixel;
    part.next_row = p.stride * p.x.row;
    compute_part(part);
    return;
  }
  const Padded padded(part);
  if (w.unfolded()) {
    const std::size_t last = p.tile_begin(part.tile + part.tiles - 1);
    const std::size_t pixels = last + p.tile_size() - p.tile_begin(part.tile);
    part.x = unfold(part, padded, pixels);
    part.next_pixel = w.run_size();
    part.next_row = pixels * w.run_size();
  } else {
    part.x = padded.data();
    part.next_pixel = p.stride * w.inputs;
    part.next_row = p.stride * padded.row();
    part.next_run = padded.row();
  }
  compute_part(part);
}

}  // namespace

#ifndef LIC_FAST_TILES
void compute_part(const Part&) {}  // which compute() never asks for
#endif

Weights::Weights(const float* weights, const float* bias, std::size_t outputs_, std::size_t inputs_,
                 std::size_t kernel_)
    : outputs(outputs_), inputs(inputs_), kernel(kernel_) {
  bias_.assign(blocks() * kBlock, 0.0f);
  std::copy_n(bias, outputs, bias_.begin());
  const std::size_t area = kernel * kernel, all = runs() * run_tiles();
  begins_.push_back(0);
  for (std::size_t first = 0; first < blocks(); first += 2) {
    const std::size_t count = std::min<std::size_t>(2, blocks() - first);
    std::vector<std::uint16_t> tiles(all * count * kWeightTile);
    const std::size_t end = std::min(outputs, (first + count) * kBlock);
    for (std::size_t o = first * kBlock; o < end; ++o) {
      for (std::size_t i = 0; i < inputs; ++i) {
        for (std::size_t tap = 0; tap < area; ++tap) {
          const std::size_t run = unfolded() ? 0 : tap / kernel;
          const std::size_t place = zeros() + tap * inputs + i - run * row_size();
          const std::size_t tile = place / kInputs, within = place - tile_begin(tile);
          const std::size_t block = o / kBlock - first, step = run * run_tiles() + tile;
          tiles[(step * count + block) * kWeightTile + within / 2 * kBlock * 2 + o % kBlock * 2 +
                within % 2] = cpu::narrow<std::uint16_t>(weights[(o * inputs + i) * area + tap]);
        }
      }
    }
    const auto size = static_cast<std::ptrdiff_t>(count * kWeightTile);
    for (std::size_t step = 0; step < all; ++step) {
      const auto begin = tiles.begin() + static_cast<std::ptrdiff_t>(step) * size;
      if (std::all_of(begin, begin + size, [](std::uint16_t bits) { return bits == 0; })) continue;
      packed_.insert(packed_.end(), begin, begin + size);
      steps_.push_back({static_cast<std::uint32_t>(step / run_tiles()),
                        static_cast<std::uint32_t>(tile_begin(step % run_tiles()))});
    }
    begins_.push_back(steps_.size());
  }
}

void compute(const Problem& problem, unsigned threads) {
  if (!cpu::supported(cpu::Isa::kAmx)) {
    throw std::invalid_argument("this CPU has no tiles of bfloat16, or they are not permitted");
  }
  if (problem.rows_begin > problem.rows_end || problem.rows_end > problem.rows()) {
    throw std::invalid_argument("these are no rows of the output");
  }
  const std::size_t tiles = problem.tiles(), rows = problem.rows_end - problem.rows_begin;
  if (problem.batch * rows * tiles == 0) return;
  const std::size_t across = (tiles + kAcross - 1) / kAcross;
  const std::size_t wide = (tiles + across - 1) / across;  // tiles of a task's rows
  const std::size_t read = problem.stride * problem.stride * problem.weights.inputs;
  const std::size_t pixels = std::min(kMostPixels, kMostNumbers / read);
  const std::size_t most = std::max<std::size_t>(1, pixels / (wide * problem.tile_size()));
  // As many tasks as there are threads, or a multiple that leaves none of them long without work.
  const std::size_t share = std::max(threads, 1u), columns = problem.batch * across;
  const std::size_t least = columns * ((rows + most - 1) / most);
  const std::size_t wanted = (least + share - 1) / share * share;
  const std::size_t down = std::min(rows, (wanted + columns - 1) / columns);
  cpu::ThreadPool::instance().run(columns * down, threads, [&](std::size_t task) {
    const std::size_t column = task % across, band = task / across % down;
    const std::size_t row = rows * band / down, tile = tiles * column / across;
    compute_task({problem, task / across / down, problem.rows_begin + row,
                  rows * (band + 1) / down - row, tile, tiles * (column + 1) / across - tile,
                  nullptr, 0, 0, 0});
  });
}

}  // namespace lic_fast::tiles
