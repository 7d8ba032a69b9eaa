#include "linear/linear.hpp"

#include <algorithm>
#include <stdexcept>

#include "cpu/bfloat16.hpp"
#include "cpu/thread_pool.hpp"
#include "cpu/words.hpp"

namespace lic_fast::linear {
namespace {

// Multiplications of a task: less is done before another thread has woken.
constexpr std::size_t kTask = std::size_t{1} << 20;
// Of a task of tiles, which take that much less time.
constexpr std::size_t kTilesTask = std::size_t{1} << 23;
// The largest word of a weight: 11 bits, more than those of a bfloat16, leave some 13 to inputs.
constexpr float kLargestWeight = 2047;

Kernel kernel(cpu::Isa isa, Products products) {
#ifdef LIC_FAST_TILES
  if (products == Products::kTiles) return &amx_tiles_kernel;
#endif
#ifdef LIC_FAST_PAIRS
  if (products == Products::kPairs) return &avx512_pairs_kernel;
#endif
#ifdef LIC_FAST_X86
  if (products == Products::kWords) {
    return isa == cpu::Isa::kAvx2 ? &avx2_words_kernel : &avx512vnni_words_kernel;
  }
  if (isa >= cpu::Isa::kAvx512) return &avx512_kernel;
  if (isa == cpu::Isa::kAvx2) return &avx2_kernel;
#else
  static_cast<void>(isa);
#endif
  static_cast<void>(products);
  return &scalar_kernel;
}

}  // namespace

bool has_pairs() {
#ifdef LIC_FAST_PAIRS
  return cpu::supported(cpu::Isa::kAvx512Vnni) && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

bool fast_pairs() {
#ifdef LIC_FAST_PAIRS
  return has_pairs() && __builtin_cpu_is("amd") != 0;
#else
  return false;
#endif
}

Weights::Weights(const float* weights, const float* bias, std::size_t outputs_, std::size_t inputs_,
                 Products products_)
    : outputs(outputs_), inputs(inputs_), products(products_) {
  if (products == Products::kPairs && !has_pairs()) {
    throw std::invalid_argument("this CPU has no products of pairs of bfloat16");
  }
  if (products == Products::kTiles && !cpu::supported(cpu::Isa::kAmx)) {
    throw std::invalid_argument("this CPU has no tiles of bfloat16");
  }
  bias_.assign(panels() * kPanel, 0.0f);
  std::copy_n(bias, outputs, bias_.begin());
  // Where the weight of an output for an input lies.
  const auto place = [this](std::size_t o, std::size_t i) {
    const std::size_t each = step(), row = i / each * kPanel + o % kPanel;
    return o / kPanel * panel_size() + row * each + i % each;
  };
  const std::size_t size = panels() * panel_size();
  if (products == Products::kWords) {
    words_.assign(size, 0);
    scales_.assign(panels() * kPanel, 0.0f);
    std::int64_t most = 0;
    for (std::size_t o = 0; o < outputs; ++o) {
      const auto weight = [&](std::size_t i) { return weights[o * inputs + i]; };
      const auto word = [&](std::size_t i) -> std::int16_t& { return words_[place(o, i)]; };
      scales_[o] = cpu::weight_words(inputs, kLargestWeight, weight, word, most);
    }
    limit_ = cpu::input_limit(most);
    return;
  }
  const bool pairs = products != Products::kFloats;
  if (pairs) {
    pairs_.assign(size, 0);
  } else {
    floats_.assign(size, 0.0f);
  }
  for (std::size_t o = 0; o < outputs; ++o) {
    for (std::size_t i = 0; i < inputs; ++i) {
      const float weight = weights[o * inputs + i];
      if (pairs) {
        pairs_[place(o, i)] = cpu::narrow<std::uint16_t>(weight);
      } else {
        floats_[place(o, i)] = weight;
      }
    }
  }
}

void compute(const Problem& problem, cpu::Isa isa, unsigned threads) {
  if (problem.first.products == Products::kPairs && isa < cpu::Isa::kAvx512Vnni) {
    throw std::invalid_argument("pairs are multiplied beside avx512vnni only");
  }
  if (problem.first.products == Products::kWords && !cpu::multiplies_words(isa)) {
    throw std::invalid_argument("words are multiplied by avx2 and by avx512vnni");
  }
  const bool tiles = problem.first.products == Products::kTiles;
  if (tiles && isa != cpu::Isa::kAmx) {
    throw std::invalid_argument("tiles are multiplied by amx only");
  }
  const Kernel work = kernel(isa, problem.first.products);
  std::size_t products = problem.first.outputs * problem.first.inputs;
  if (problem.second != nullptr) products += problem.second->outputs * problem.second->inputs;
  const std::size_t size = tiles ? kTilesBlock : kBlock;
  const std::size_t blocks = (problem.rows + size - 1) / size;
  const std::size_t each = 1 + (tiles ? kTilesTask : kTask) / (size * products);
  cpu::ThreadPool::instance().run((blocks + each - 1) / each, threads, [&](std::size_t task) {
    const std::size_t last = std::min(blocks, (task + 1) * each);
    // Setting tiles up takes as long as a few rows.
    const std::size_t step = tiles ? each : 1;
    for (std::size_t block = task * each; block < last; block += step) {
      work(problem, block * size, std::min(problem.rows, (block + step) * size));
    }
  });
}

}  // namespace lic_fast::linear
