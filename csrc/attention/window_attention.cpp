#include "attention/window_attention.hpp"

#include <cstddef>
#include <vector>

#include "cpu/thread_pool.hpp"

namespace lic_fast::attention {
namespace {

Shared share(const Problem& problem, bool queries_first) {
  constexpr float kPerLn2 = 1.44269504f;
  const std::size_t w = problem.window, tokens = w * w;
  const std::size_t padded = (tokens + Shared::kPad - 1) / Shared::kPad * Shared::kPad;
  Shared shared{problem, tokens, padded, {}, {}, {}, {}, problem.pad_value};
  shared.scale = problem.scale * kPerLn2;
  shared.mask = problem.mask_value * kPerLn2;
  shared.bias.assign(problem.heads * tokens * padded, 0.0f);
  for (std::size_t head = 0; head < problem.heads; ++head) {
    for (std::size_t j = 0; j < tokens; ++j) {
      for (std::size_t i = 0; i < tokens; ++i) {
        const std::size_t row = i / w + w - 1 - j / w, column = i % w + w - 1 - j % w;
        const std::size_t place = queries_first ? i * padded + j : j * padded + i;
        shared.bias[head * tokens * padded + place] =
            problem.bias_table[(row * (2 * w - 1) + column) * problem.heads + head] * kPerLn2;
      }
    }
  }
  if (problem.pad_value == nullptr) {
    shared.no_pad.assign(3 * problem.heads * problem.head_size, 0);
    shared.padding = shared.no_pad.data();  // stays, as moves keep a vector's memory
  }
  return shared;
}

struct Kernels {
  BandKernel forward;
  BackwardKernel backward;
};

Kernels kernels(cpu::Isa isa) {
  switch (isa) {
#ifdef LIC_FAST_X86
    case cpu::Isa::kAmx:
    case cpu::Isa::kAvx512Vnni:
    case cpu::Isa::kAvx512:
      return {avx512_band(), avx512_backward()};
    case cpu::Isa::kAvx2:
      return {avx2_band(), avx2_backward()};
#endif
    default:
      return {scalar_band(), scalar_backward()};
  }
}

/// Adds up what each row of windows has summed, in their order.
void add_up(const std::vector<float>& sums, std::size_t count, float* to) {
  for (std::size_t i = 0; i < count; ++i) {
    double sum = 0;
    for (std::size_t place = i; place < sums.size(); place += count) {
      sum += static_cast<double>(sums[place]);
    }
    to[i] = static_cast<float>(sum);
  }
}

std::size_t bands_of(const Problem& problem) {
  return (problem.height + problem.window - 1) / problem.window;
}

}  // namespace

void window_attention(const Problem& problem, cpu::Isa isa, unsigned threads) {
  BandKernel compute = nullptr;
#ifdef LIC_FAST_TILES
  if (isa == cpu::Isa::kAmx) compute = amx_band(problem);
#endif
  const Shared shared = share(problem, compute != nullptr);
  if (compute == nullptr) compute = kernels(isa).forward;
  const std::size_t bands = bands_of(problem);
  cpu::ThreadPool::instance().run(problem.batch * bands, threads, [&](std::size_t task) {
    compute(shared, task / bands, task % bands);
  });
}

void window_attention_backward(const Problem& problem, const Gradients& gradients, cpu::Isa isa,
                               unsigned threads) {
  const Shared shared = share(problem, false);
  const BackwardKernel compute = kernels(isa).backward;
  const std::size_t bands = bands_of(problem), tasks = problem.batch * bands;
  const std::size_t side = 2 * problem.window - 1, entries = side * side * problem.heads;
  const bool padded = gradients.pad_value != nullptr;
  const std::size_t numbers = padded ? 3 * problem.heads * problem.head_size : 0;
  std::vector<float> tables(tasks * entries), pads(tasks * numbers);
  cpu::ThreadPool::instance().run(tasks, threads, [&](std::size_t task) {
    compute(shared,
            {gradients.grad, gradients.qkv, tables.data() + task * entries,
             padded ? pads.data() + task * numbers : nullptr},
            task / bands, task % bands);
  });
  add_up(tables, entries, gradients.bias_table);
  if (padded) add_up(pads, numbers, gradients.pad_value);
}

}  // namespace lic_fast::attention
