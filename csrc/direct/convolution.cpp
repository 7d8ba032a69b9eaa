#include "direct/convolution.hpp"

#include <algorithm>

#include "cpu/thread_pool.hpp"

namespace lic_fast::direct {
namespace {

// Numbers of the input that a block of pixels reads at most: with a panel's weights they stay in
// the second cache.
constexpr std::size_t kInput = std::size_t{1} << 16;
// Columns of a block, and pixels for which it is worth reading all weights.
constexpr std::size_t kColumns = 48, kFewPixels = 24;
// Columns and pixels of a block whose vectors are of pixels.
constexpr std::size_t kLongColumns = 96, kLongPixels = 1024;

Kernel kernel(cpu::Isa isa, bool few) {
#ifdef LIC_FAST_X86
  if (isa >= cpu::Isa::kAvx512) return few ? &avx512_few_kernel : &avx512_kernel;
  if (isa == cpu::Isa::kAvx2) return few ? &avx2_few_kernel : &avx2_kernel;
#else
  static_cast<void>(isa);
#endif
  return few ? &scalar_few_kernel : &scalar_kernel;
}

std::size_t divided(std::size_t count, std::size_t size) { return (count + size - 1) / size; }

}  // namespace

Weights::Weights(const float* weights, const float* bias, std::size_t outputs_, std::size_t inputs_,
                 std::size_t kernel_)
    : outputs(outputs_), inputs(inputs_), kernel(kernel_) {
  packed_.assign(panels() * depth() * kPanel, 0.0f);
  bias_.assign(panels() * kPanel, 0.0f);
  if (bias != nullptr) std::copy_n(bias, outputs, bias_.begin());
  const std::size_t area = kernel * kernel;
  if (outputs <= kMostFew) few_.assign(depth() * outputs, 0.0f);
  for (std::size_t o = 0; o < outputs; ++o) {
    float* const to = packed_.data() + o / kPanel * depth() * kPanel + o % kPanel;
    for (std::size_t i = 0; i < inputs; ++i) {
      const float* const taps = weights + (o * inputs + i) * area;
      for (std::size_t tap = 0; tap < area; ++tap) {
        to[(tap * inputs + i) * kPanel] = taps[tap];
        if (outputs > kMostFew) continue;
        const std::size_t row = tap / kernel, column = tap % kernel;
        few_[((row * inputs + i) * kernel + column) * outputs + o] = taps[tap];
      }
    }
  }
}

void compute(const Problem& problem, cpu::Isa isa, unsigned threads) {
  const Weights& w = problem.weights;
  const std::size_t height = problem.rows_end - problem.rows_begin, width = problem.columns();
  if (problem.batch * height * width == 0) return;
  const std::size_t share = std::max(threads, 1u);
  // Blocks of about one size, as wide as they may be, and as high as the caches allow.
  const bool few = problem.few();
  const std::size_t most_columns = few ? kLongColumns : kColumns;
  const std::size_t most_pixels = few ? kLongPixels : kMostPixels;
  const std::size_t across = divided(width, most_columns), columns = divided(width, across);
  const std::size_t step = std::min(problem.stride, w.kernel);
  const auto read = [&](std::size_t count) { return (count - 1) * step + w.kernel; };
  std::size_t most = 1;  // rows
  while (most < height && (most + 1) * columns <= most_pixels &&
         read(most + 1) * read(columns) * w.inputs <= kInput) {
    ++most;
  }
  // Lower ones where there would be too few of them, or else such that share their panels.
  const std::size_t strips = problem.batch * across;
  std::size_t down = divided(height, most);
  if (strips * down < 2 * share) {
    const std::size_t least = std::max<std::size_t>(1, divided(kFewPixels, columns));
    down = std::clamp(divided(2 * share, strips), down, std::max(down, height / least));
  }
  const std::size_t blocks = strips * down;
  const std::size_t groups =
      blocks < 2 * share && share > 1 ? std::min(w.panels(), divided(2 * share, blocks)) : 1;
  const Kernel work = kernel(isa, few);
  cpu::ThreadPool::instance().run(blocks * groups, threads, [&](std::size_t task) {
    const std::size_t group = task % groups, block = task / groups;
    const std::size_t strip = block % across, band = block / across % down;
    const std::size_t row = problem.rows_begin + height * band / down;
    const std::size_t column = width * strip / across, panel = w.panels() * group / groups;
    work({problem, block / across / down, row,
          problem.rows_begin + height * (band + 1) / down - row, column,
          width * (strip + 1) / across - column, panel, w.panels() * (group + 1) / groups - panel});
  });
}

}  // namespace lic_fast::direct
