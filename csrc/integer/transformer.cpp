#include "integer/transformer.hpp"

#include <algorithm>

#include "cpu/lines.hpp"
#include "cpu/thread_pool.hpp"
#include "integer/kernels.hpp"
#include "integer/quantizer.hpp"

namespace lic_fast::integer {
namespace {

/// Calls part(first, count) for runs of `items`, each of so many, on several threads.
template <class Part>
void in_runs(std::size_t items, std::size_t together, unsigned threads, const Part& part) {
  cpu::ThreadPool::instance().run((items + together - 1) / together, threads, [&](std::size_t i) {
    part(i * together, std::min(together, items - i * together));
  });
}

}  // namespace

void layer_norm(const float* x, std::size_t count, std::size_t channels, const Norm& norm,
                float* out, cpu::Isa isa, unsigned threads) {
  const auto compute = kernels(isa).layer_norm;
  in_runs(count, 64, threads, [&](std::size_t first, std::size_t n) {
    for (std::size_t i = first; i < first + n; ++i) {
      compute(x + i * channels, channels, norm, out + i * channels);
    }
  });
}

void sigmoid(const float* x, std::size_t count, float* out, cpu::Isa isa, unsigned threads) {
  const auto compute = kernels(isa).sigmoid;
  in_runs(count, 1 << 13, threads,
          [&](std::size_t first, std::size_t n) { compute(x + first, n, out + first); });
}

void attend(const Attention& a, cpu::Isa isa, unsigned threads) {
  const Kernels& own = kernels(isa);
  const std::size_t rows = a.height / a.window, columns = a.width / a.window;
  const std::size_t tokens = a.window * a.window, size = a.channels / a.heads;
  cpu::ThreadPool::instance().run(a.batch * rows * columns, threads, [&](std::size_t i) {
    const std::size_t image = i / (rows * columns);
    const std::size_t row = i / columns % rows, column = i % columns;
    static thread_local cpu::Lines<std::int16_t> words;
    static thread_local cpu::Lines<float> aside;
    words.resize(tokens * 3 * a.channels);
    if (a.quantizer != nullptr) aside.resize(tokens * a.channels);
    struct {
      std::size_t y, x;
    } place[kMostTokens];
    float* out[kMostTokens];
    std::uint8_t region[kMostTokens];
    for (std::size_t t = 0; t < tokens; ++t) {
      // The place in the shifted map, and that which the shift brought there.
      const std::size_t y = row * a.window + t / a.window, x = column * a.window + t % a.window;
      place[t] = {(y + a.shift) % a.height, (x + a.shift) % a.width};
      // Tokens of the last windows that come from the other edge are a region of their own.
      region[t] =
          static_cast<std::uint8_t>(2 * (y + a.shift >= a.height) + (x + a.shift >= a.width));
      out[t] = a.quantizer == nullptr ? a.out.at(image, place[t].y, place[t].x)
                                      : aside.data() + t * a.channels;
      own.words(a.qkv.at(image, place[t].y, place[t].x), 3 * a.channels, a.inverse_step,
                kLargestAttended, words.data() + t * 3 * a.channels);
    }
    for (std::size_t head = 0; head < a.heads; ++head) {
      const std::size_t first = head * size;
      own.attend({words.data(), tokens, a.channels, size, first, a.bias + head * tokens * tokens,
                  region, a.scale[head], a.value_step + first, out});
    }
    if (a.quantizer == nullptr) return;
    for (std::size_t t = 0; t < tokens; ++t) {
      std::uint8_t* halves[2] = {};
      for (std::size_t half = 0; half < a.quantizer->halves(); ++half) {
        halves[half] = a.halves[half].at(image, place[t].y, place[t].x);
      }
      a.quantizer->run(own, out[t], 0, a.channels, halves[0], halves[1]);
    }
  });
}

}  // namespace lic_fast::integer
