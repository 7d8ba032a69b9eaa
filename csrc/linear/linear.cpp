#include "linear/linear.hpp"

#include <algorithm>
#include <stdexcept>

#include "cpu/bfloat16.hpp"
#include "cpu/thread_pool.hpp"

namespace lic_fast::linear {
namespace {

// Multiplications of a task: less is done before another thread has woken.
constexpr std::size_t kTask = std::size_t{1} << 20;

Kernel kernel(cpu::Isa isa, Products products) {
#ifdef LIC_FAST_PAIRS
  if (products == Products::kPairs) return &avx512_pairs_kernel;
#endif
#ifdef LIC_FAST_X86
  if (isa == cpu::Isa::kAvx512 || isa == cpu::Isa::kAvx512Vnni) return &avx512_kernel;
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
  bias_.assign(panels() * kPanel, 0.0f);
  std::copy_n(bias, outputs, bias_.begin());
  const std::size_t size = panels() * panel_size(), each = step();
  if (products == Products::kPairs) {
    pairs_.assign(size, 0);
  } else {
    floats_.assign(size, 0.0f);
  }
  for (std::size_t o = 0; o < outputs; ++o) {
    const std::size_t panel = o / kPanel * panel_size(), lane = o % kPanel;
    for (std::size_t i = 0; i < inputs; ++i) {
      const float weight = weights[o * inputs + i];
      const std::size_t place = panel + (i / each * kPanel + lane) * each + i % each;
      if (products == Products::kPairs) {
        pairs_[place] = cpu::narrow<std::uint16_t>(weight);
      } else {
        floats_[place] = weight;
      }
    }
  }
}

void compute(const Problem& problem, cpu::Isa isa, unsigned threads) {
  if (problem.first.products == Products::kPairs && isa != cpu::Isa::kAvx512Vnni) {
    throw std::invalid_argument("pairs are multiplied beside avx512vnni only");
  }
  const Kernel work = kernel(isa, problem.first.products);
  std::size_t products = problem.first.outputs * problem.first.inputs;
  if (problem.second != nullptr) products += problem.second->outputs * problem.second->inputs;
  const std::size_t blocks = (problem.rows + kBlock - 1) / kBlock;
  const std::size_t each = 1 + kTask / (kBlock * products);
  cpu::ThreadPool::instance().run((blocks + each - 1) / each, threads, [&](std::size_t task) {
    const std::size_t last = std::min(blocks, (task + 1) * each);
    for (std::size_t block = task * each; block < last; ++block) {
      work(problem, block * kBlock, std::min(problem.rows, (block + 1) * kBlock));
    }
  });
}

}  // namespace lic_fast::linear
