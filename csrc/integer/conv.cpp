#include "integer/conv.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "cpu/thread_pool.hpp"

namespace lic_fast::integer {
namespace {

// A task's rows: enough that each weight that comes from memory is used for many pixels.
constexpr std::size_t kRows = 4;

/// The input of some output rows, with its border, each group's channels padded to whole quads.
std::vector<std::uint8_t> pad(const Problem& p, std::size_t half, std::size_t image,
                              std::size_t first, std::size_t rows, std::size_t columns) {
  const Weights& w = p.weights;
  const std::size_t pixel = w.groups * w.quads * kQuad, side = w.kernel / 2;
  const bool dense = w.group_in == w.quads * kQuad;
  std::vector<std::uint8_t> padded(rows * columns * pixel);
  // A pixel's groups, each behind the padding of the one before.
  const auto copy = [&](const std::uint8_t* from, std::uint8_t* to, std::size_t pixels) {
    if (dense) {
      std::memcpy(to, from, pixels * pixel);
      return;
    }
    for (std::size_t i = 0; i < pixels * w.groups; ++i) {
      std::memcpy(to + i * w.quads * kQuad, from + i * w.group_in, w.group_in);
    }
  };
  const auto beyond = [&](std::size_t r, std::size_t first_column, std::size_t end) {
    for (std::size_t c = first_column; c < end; ++c) {
      copy(p.border[half], padded.data() + (r * columns + c) * pixel, 1);
    }
  };
  for (std::size_t r = 0; r < rows; ++r) {
    const std::size_t y = first + r;  // of the padded map
    if (y < side || y - side >= p.height) {
      beyond(r, 0, columns);
      continue;
    }
    copy(p.x[half] + (image * p.height + y - side) * p.width * w.in_channels,
         padded.data() + (r * columns + side) * pixel, p.width);
    beyond(r, 0, side);
    beyond(r, side + p.width, columns);
  }
  std::uint8_t all = 0;
  for (const std::uint8_t value : padded) all |= value;
  if (all > 127) throw std::invalid_argument("activations and border must be in 0..127");
  return padded;
}

RowsKernel kernel(cpu::Isa isa) {
  switch (isa) {
#ifdef LIC_FAST_X86
    case cpu::Isa::kAvx512Vnni:
      return avx512vnni_rows();
    case cpu::Isa::kAvx512:
      return avx512_rows();
    case cpu::Isa::kAvx2:
      return avx2_rows();
#endif
    default:
      return scalar_rows();
  }
}

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

void convolve(const Problem& problem, cpu::Isa isa, unsigned threads) {
  const RowsKernel compute = kernel(isa);
  const Weights& w = problem.weights;
  const std::size_t height = problem.out_height();
  const std::size_t tasks = (height + kRows - 1) / kRows;
  cpu::ThreadPool::instance().run(problem.batch * tasks, threads, [&](std::size_t task) {
    const std::size_t image = task / tasks, first = task % tasks * kRows;
    const std::size_t count = std::min(kRows, height - first);
    const std::size_t columns = (problem.out_width() - 1) * problem.stride + w.kernel;
    const std::size_t lines = (count - 1) * problem.stride + w.kernel;
    // A stride may leave the last columns of the input unread; they still need room.
    const std::size_t wide = std::max(columns, problem.width + w.kernel / 2);
    std::vector<std::uint8_t> padded[2];
    Rows rows{problem, image, first, count, wide, w.groups * w.quads * kQuad, {}};
    for (std::size_t half = 0; half < problem.halves; ++half) {
      padded[half] = pad(problem, half, image, first * problem.stride, lines, wide);
      rows.x[half] = padded[half].data();
    }
    compute(rows);
  });
}

}  // namespace lic_fast::integer
