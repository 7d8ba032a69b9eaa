#include "integer/elements.hpp"

#include <algorithm>
#include <functional>
#include <vector>

#include "cpu/thread_pool.hpp"
#include "integer/kernels.hpp"

namespace lic_fast::integer {
namespace {

/// Calls task(image, row) for all of them, on several threads if that is worth waking them.
void for_rows(const Shape& shape, unsigned threads,
              const std::function<void(std::size_t, std::size_t)>& task) {
  constexpr std::size_t kElements = 1 << 13;  // a thread's, at least
  const std::size_t rows = shape.batch * shape.height, row = shape.width * shape.channels;
  if (rows * row == 0) return;
  const std::size_t together = std::clamp<std::size_t>(kElements / row, 1, rows);
  cpu::ThreadPool::instance().run((rows + together - 1) / together, threads, [&](std::size_t i) {
    const std::size_t end = std::min(rows, (i + 1) * together);
    for (std::size_t r = i * together; r < end; ++r) task(r / shape.height, r % shape.height);
  });
}

}  // namespace

void quantize(const Shape& shape, const View<const float>& x, std::ptrdiff_t channel,
              const float* inverse_step, const std::int32_t* zero, int bits,
              const View<std::uint8_t> (&out)[2], cpu::Isa isa, unsigned threads) {
  const std::size_t room = (shape.channels + kBlock - 1) / kBlock * kBlock;
  std::vector<float> inverse(room, 0.0f), zeros(room, 0.0f);
  std::copy_n(inverse_step, shape.channels, inverse.begin());
  std::copy_n(zero, shape.channels, zeros.begin());
  const auto top = static_cast<float>((1 << bits) - 1);
  const auto compute = kernels(isa).quantize;
  const auto halves = [&](std::size_t image, std::size_t y, std::size_t column, std::size_t first,
                          const float* from, std::size_t count) {
    std::uint8_t* const only = out[0].at(image, y, column) + first;
    std::uint8_t* const low = bits == kHalfBits ? only : out[1].at(image, y, column) + first;
    compute(from, count, {inverse.data() + first, zeros.data() + first, top},
            bits == kHalfBits ? nullptr : only, low);
  };
  for_rows(shape, threads, [&](std::size_t image, std::size_t y) {
    if (channel == 1 || shape.channels == 1) {
      for (std::size_t column = 0; column < shape.width; ++column) {
        halves(image, y, column, 0, x.at(image, y, column), shape.channels);
      }
      return;
    }
    // So few channels at once that each line of their memory is read for many pixels.
    constexpr std::size_t kGathered = 4 * kBlock;
    for (std::size_t first = 0; first < shape.channels; first += kGathered) {
      const std::size_t count = std::min(kGathered, shape.channels - first);
      for (std::size_t column = 0; column < shape.width; ++column) {
        float gathered[kGathered];
        const float* const from =
            x.at(image, y, column) + static_cast<std::ptrdiff_t>(first) * channel;
        for (std::size_t c = 0; c < count; ++c) {
          gathered[c] = from[static_cast<std::ptrdiff_t>(c) * channel];
        }
        halves(image, y, column, first, gathered, count);
      }
    }
  });
}

void add_residual(const Shape& shape, const View<const float>& quantized,
                  const View<const float>& lrp, const View<float>& out, cpu::Isa isa,
                  unsigned threads) {
  const auto compute = kernels(isa).add_residual;
  const auto pixel = static_cast<std::ptrdiff_t>(shape.channels);
  const bool joined = quantized.pixel == pixel && lrp.pixel == pixel && out.pixel == pixel;
  // Of pixels without gaps, a row is one.
  const std::size_t columns = joined ? 1 : shape.width;
  const std::size_t count = joined ? shape.width * shape.channels : shape.channels;
  for_rows(shape, threads, [&](std::size_t image, std::size_t y) {
    for (std::size_t column = 0; column < columns; ++column) {
      compute(quantized.at(image, y, column), lrp.at(image, y, column), count,
              out.at(image, y, column));
    }
  });
}

}  // namespace lic_fast::integer
