#include "attention/window_attention.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "cpu/thread_pool.hpp"

namespace lic_fast::attention {
namespace {

struct Kernels {
  ForwardKernel forward;
  BackwardKernel backward;
};

Kernels kernels(cpu::Isa isa) {
  switch (isa) {
#ifdef LIC_FAST_X86
    case cpu::Isa::kAmx:
    case cpu::Isa::kAvx512Vnni:
    case cpu::Isa::kAvx512:
      return {avx512_forward(), avx512_backward()};
    case cpu::Isa::kAvx2:
      return {avx2_forward(), avx2_backward()};
#endif
    default:
      return {scalar_forward(), scalar_backward()};
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

/// Rows of windows of an image.
std::size_t window_rows(const Problem& problem) {
  const std::size_t window = problem.tables.window;
  return (problem.height + window - 1) / window;
}

/// Those that the range of rows consists of, in an image.
std::vector<WindowRow> window_rows_of_range(const Problem& problem) {
  const std::size_t window = problem.tables.window, shift = problem.tables.shift;
  const std::size_t count = window_rows(problem);
  std::vector<WindowRow> all;
  if (problem.whole()) {
    for (std::size_t i = 0; i < count; ++i) all.push_back({0, i, 0, window});
    return all;
  }
  if (problem.rows_begin < std::min(shift, problem.rows_end)) {
    all.push_back({0, count - 1, window - shift, window});
  }
  for (std::size_t row = std::max(problem.rows_begin, shift); row < problem.rows_end;
       row += window) {
    const std::size_t index = (row - shift) / window;
    all.push_back({0, index, 0, index + 1 == count ? window - shift : window});
  }
  return all;
}

}  // namespace

cpu::Isa forward_isa(const Parameters& parameters, cpu::Isa isa) {
#ifdef LIC_FAST_TILES
  if (isa == cpu::Isa::kAmx && amx_forward(parameters) != nullptr) return isa;
#endif
  static_cast<void>(parameters);
  return std::min(isa, cpu::Isa::kAvx512);
}

Tables::Tables(const Parameters& parameters, cpu::Isa isa, Pass pass)
    : heads(parameters.heads),
      head_size(parameters.head_size),
      window(parameters.window),
      shift(parameters.shift),
      bfloat16(parameters.bfloat16),
      tokens(window * window),
      padded_tokens((tokens + kPad - 1) / kPad * kPad),
      padding(3 * heads * head_size),
      forward(nullptr),
      backward(nullptr) {
  constexpr float kPerLn2 = 1.44269504f;
  factor = parameters.scale;
  scale = parameters.scale * kPerLn2;
  mask = parameters.mask_value * kPerLn2;
  bool queries_first = false;
  if (pass == Pass::kBackward) {
    backward = kernels(isa).backward;
  } else {
    forward = kernels(isa).forward;
#ifdef LIC_FAST_TILES
    if (forward_isa(parameters, isa) == cpu::Isa::kAmx) {
      forward = amx_forward(parameters);
      queries_first = true;
    }
#endif
  }
  bias.assign(heads * tokens * padded_tokens, 0.0f);
  const std::size_t w = window;
  for (std::size_t head = 0; head < heads; ++head) {
    for (std::size_t j = 0; j < tokens; ++j) {
      for (std::size_t i = 0; i < tokens; ++i) {
        const std::size_t row = i / w + w - 1 - j / w, column = i % w + w - 1 - j % w;
        const std::size_t place = queries_first ? i * padded_tokens + j : j * padded_tokens + i;
        bias[head * tokens * padded_tokens + place] =
            parameters.bias_table[(row * (2 * w - 1) + column) * heads + head] * kPerLn2;
      }
    }
  }
  if (parameters.pad_value != nullptr) {
    std::copy_n(parameters.pad_value, padding.size(), padding.begin());
  }
}

std::size_t boundary(std::size_t row, std::size_t window, std::size_t shift, std::size_t height) {
  if (row == 0) return 0;
  const std::size_t windows = row <= shift ? 0 : (row - shift + window - 1) / window;
  return std::min(shift + windows * window, height);
}

void window_attention(const Problem& problem, unsigned threads) {
  const Tables& tables = problem.tables;
  if (tables.forward == nullptr) {
    throw std::invalid_argument("the tables are those of the backward pass");
  }
  const auto ends = [&](std::size_t row) {
    return row <= problem.height &&
           boundary(row, tables.window, tables.shift, problem.height) == row;
  };
  if (problem.rows_begin > problem.rows_end || !ends(problem.rows_begin) ||
      !ends(problem.rows_end)) {
    throw std::invalid_argument("rows must begin and end where windows do, or the map");
  }
  const std::vector<WindowRow> all = window_rows_of_range(problem);
  cpu::ThreadPool::instance().run(problem.batch * all.size(), threads, [&](std::size_t task) {
    WindowRow window_row = all[task % all.size()];
    window_row.image = task / all.size();
    tables.forward(problem, window_row);
  });
}

void window_attention_backward(const Problem& problem, const Gradients& gradients,
                               unsigned threads) {
  const Tables& tables = problem.tables;
  if (tables.backward == nullptr) {
    throw std::invalid_argument("the tables are those of the forward pass");
  }
  const std::size_t rows = window_rows(problem), tasks = problem.batch * rows;
  const std::size_t side = 2 * tables.window - 1, entries = side * side * tables.heads;
  const std::size_t channels = tables.heads * tables.head_size;
  const bool padded = gradients.pad_value != nullptr;
  const std::size_t numbers = padded ? 3 * channels : 0;
  const auto dense = [&](auto* data, std::size_t pixel) {
    return Map<std::remove_pointer_t<decltype(data)>>{data, problem.height * problem.width * pixel,
                                                      problem.width * pixel, pixel};
  };
  const Map<const void> grad = dense(gradients.grad, channels);
  const Map<void> qkv = dense(gradients.qkv, 3 * channels);
  std::vector<float> sums(tasks * entries), pads(tasks * numbers);
  cpu::ThreadPool::instance().run(tasks, threads, [&](std::size_t task) {
    tables.backward(
        problem,
        {grad, qkv, sums.data() + task * entries, padded ? pads.data() + task * numbers : nullptr},
        {task / rows, task % rows, 0, tables.window});
  });
  add_up(sums, entries, gradients.bias_table);
  if (padded) add_up(pads, numbers, gradients.pad_value);
}

}  // namespace lic_fast::attention
