#include "integer/conv.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "cpu/lines.hpp"
#include "cpu/thread_pool.hpp"
#include "integer/kernels.hpp"
#include "integer/winograd.hpp"

namespace lic_fast::integer {
namespace {

/// A task's rows: enough that each weight that comes from memory is used for many pixels, as long
/// as there is work for every thread.
std::size_t task_rows(std::size_t rows, unsigned threads, std::size_t most) {
  return std::clamp<std::size_t>(rows / (2 * std::max(threads, 1u)), 1, most);
}

/// The input of some output rows, with its border, each group's channels padded to whole quads, in
/// memory that a thread keeps for it.
class Padded {
 public:
  /// Rows from `first` on of the padded map.
  Padded(const Problem& p, std::size_t image, std::size_t first, std::size_t rows,
         std::size_t columns)
      : p_(p), columns_(columns), pixel_(p.weights.groups * p.weights.quads * kQuad) {
    static thread_local cpu::Lines<std::uint8_t> memory;
    const std::size_t size = memory_size({rows, columns, pixel_});
    if (memory.size() < p.halves * size + kBeyond) memory.resize(p.halves * size + kBeyond);
    if (!p.weights.dense()) std::fill_n(memory.begin(), p.halves * size, std::uint8_t{0});
    for (std::size_t half = 0; half < p.halves; ++half) {
      data_[half] = memory.data() + half * size;
      for (std::size_t r = 0; r < rows; ++r) fill(half, image, first + r, row(half, r));
    }
    std::uint8_t all = 0;
    for (std::size_t i = 0; i < p.halves * size; ++i) all |= memory[i];
    if (all > kHalfTop) throw std::invalid_argument("activations and border must be in 0..127");
  }

  const std::uint8_t* data(std::size_t half) const { return data_[half]; }
  std::ptrdiff_t row_bytes() const { return static_cast<std::ptrdiff_t>(columns_ * pixel_); }
  std::ptrdiff_t pixel_bytes() const { return static_cast<std::ptrdiff_t>(pixel_); }

 private:
  std::uint8_t* row(std::size_t half, std::size_t r) { return data_[half] + r * columns_ * pixel_; }

  void fill(std::size_t half, std::size_t image, std::size_t y, std::uint8_t* to) const {
    const std::size_t side = p_.weights.kernel / 2;
    const bool inside = y >= side && y - side < p_.height;
    const std::size_t begin = inside ? side : columns_, end = inside ? side + p_.width : columns_;
    for (std::size_t c = 0; c < begin; ++c) copy(p_.border[half], to + c * pixel_);
    for (std::size_t c = end; c < columns_; ++c) copy(p_.border[half], to + c * pixel_);
    if (!inside) return;
    const View<const std::uint8_t>& x = p_.x[half];
    if (p_.weights.dense() && x.pixel == pixel_bytes()) {
      std::memcpy(to + side * pixel_, x.at<std::size_t>(image, y - side, 0), p_.width * pixel_);
      return;
    }
    for (std::size_t c = 0; c < p_.width; ++c) {
      copy(x.at(image, y - side, c), to + (side + c) * pixel_);
    }
  }

  /// A pixel's groups, each behind the padding of the one before.
  void copy(const std::uint8_t* from, std::uint8_t* to) const {
    const Weights& w = p_.weights;
    if (w.dense()) {
      std::memcpy(to, from, pixel_);
      return;
    }
    for (std::size_t group = 0; group < w.groups; ++group) {
      std::memcpy(to + group * w.quads * kQuad, from + group * w.group_in, w.group_in);
    }
  }

  const Problem& p_;
  const std::size_t columns_, pixel_;
  std::uint8_t* data_[2] = {};
};

}  // namespace

Weights::Weights(const std::int8_t* weights, std::size_t out, std::size_t in, std::size_t groups_,
                 std::size_t kernel_)
    : in_channels(in),
      out_channels(out),
      groups(groups_),
      kernel(kernel_),
      group_in(in / groups_),
      group_out(out / groups_),
      quads((group_in + kQuad - 1) / kQuad),
      blocks((group_out + kBlock - 1) / kBlock) {
  packed_.assign(groups * blocks * block_size(), 0);
  const std::size_t area = kernel * kernel;
  for (std::size_t o = 0; o < out; ++o) {
    const std::size_t channel = o % group_out;
    std::int8_t* to = packed_.data() + (o / group_out * blocks + channel / kBlock) * block_size() +
                      channel % kBlock * kQuad;
    for (std::size_t i = 0; i < group_in; ++i) {
      for (std::size_t tap = 0; tap < area; ++tap) {
        to[(tap * quads + i / kQuad) * kBlock * kQuad + i % kQuad] =
            weights[(o * group_in + i) * area + tap];
      }
    }
  }
}

Weights::~Weights() = default;

const WinogradWeights& Weights::winograd(Form form, unsigned threads) const {
  return (form == Form::kFour ? four_ : two_).get([&] {
    return std::make_unique<const WinogradWeights>(*this, form, threads);
  });
}

void Weights::make_words() const {
  words_.get([&] {
    auto words = std::make_unique<cpu::Lines<std::int16_t>>(packed_.size());
    constexpr std::size_t kSquare = kBlock * kQuad;
    for (std::size_t i = 0; i < packed_.size(); ++i) {
      const std::size_t lane = i % kSquare / kQuad, k = i % kQuad;
      (*words)[i / kSquare * kSquare + (k / kPair * kBlock + lane) * kPair + k % kPair] =
          packed_[i];
    }
    return words;
  });
}

void Weights::make_tiles() const {
  const std::size_t run = run_size(), size = tiles_size() / runs().count;
  if (run == size) return;
  tiles_.get([&] {
    const std::size_t count = groups * blocks * runs().count;
    auto tiles = std::make_unique<cpu::Lines<std::int8_t>>(count * size);
    for (std::size_t i = 0; i < count; ++i) {
      std::copy_n(packed_.data() + i * run, run, tiles->data() + i * size);
    }
    return tiles;
  });
}

std::vector<int> Weights::tile_sides() const {
  std::vector<int> sides;
  if (two_.found() != nullptr) sides.push_back(2);
  if (four_.found() != nullptr) sides.push_back(4);
  return sides;
}

void convolve(const Problem& problem, cpu::Isa isa, unsigned threads) {
  const Choice choice = choose(problem, isa, threads);
  if (choice.form == Form::kDirect) {
    convolve_directly(problem, isa, threads);
  } else {
    convolve_by_winograd(problem, choice, isa, threads);
  }
}

void convolve_directly(const Problem& problem, cpu::Isa isa, unsigned threads) {
  const Kernels& all = kernels(isa);
  const Weights& w = problem.weights;
  const bool by_words = w.kernel == 1 && problem.halves == 2 && all.pointwise != nullptr;
  if (by_words) w.make_words();
  if (all.of_tiles) w.make_tiles();
  const auto compute = by_words ? all.pointwise : all.rows;
  const std::size_t height = problem.out_height(), side = w.kernel / 2;
  const std::size_t task_height = task_rows(problem.batch * height, threads, all.task_rows);
  const std::size_t tasks = (height + task_height - 1) / task_height;
  cpu::ThreadPool::instance().run(problem.batch * tasks, threads, [&](std::size_t task) {
    const std::size_t image = task / tasks, first = task % tasks * task_height;
    const std::size_t count = std::min(task_height, height - first);
    if (problem.bordered) {
      const View<const std::uint8_t>& x = problem.x[0];
      Rows rows{problem, image, first, count, x.row, x.pixel, {}};
      const auto edge = static_cast<std::ptrdiff_t>(side);
      for (std::size_t half = 0; half < problem.halves; ++half) {
        rows.x[half] =
            problem.x[half].at(static_cast<std::ptrdiff_t>(image),
                               static_cast<std::ptrdiff_t>(first * problem.stride) - edge, -edge);
      }
      compute(rows);
      return;
    }
    const std::size_t columns = (problem.out_width() - 1) * problem.stride + w.kernel;
    const std::size_t lines = (count - 1) * problem.stride + w.kernel;
    // A stride may leave the last columns of the input unread; they still need room.
    const Padded padded(problem, image, first * problem.stride, lines,
                        std::max(columns, problem.width + side));
    compute({problem,
             image,
             first,
             count,
             padded.row_bytes(),
             padded.pixel_bytes(),
             {padded.data(0), padded.data(1)}});
  });
}

}  // namespace lic_fast::integer
