#include "channels/channels.hpp"

#include <algorithm>

#include "cpu/thread_pool.hpp"

namespace lic_fast::channels {
namespace {

// Numbers of a task: less is done before another thread has woken.
constexpr std::size_t kTask = std::size_t{1} << 16;

Kernel kernel(cpu::Isa isa) {
  switch (isa) {
#ifdef LIC_FAST_X86
    case cpu::Isa::kAmx:
    case cpu::Isa::kAvx512Vnni:
    case cpu::Isa::kAvx512:
      return avx512_kernel();
    case cpu::Isa::kAvx2:
      return avx2_kernel();
#endif
    default:
      return scalar_kernel();
  }
}

}  // namespace

void compute(const Problem& problem, cpu::Isa isa, unsigned threads) {
  if (problem.rows == 0 || problem.channels == 0) return;
  const Kernel work = kernel(isa);
  const std::size_t size = std::max<std::size_t>(1, kTask / problem.channels);
  const std::size_t tasks = (problem.rows + size - 1) / size;
  cpu::ThreadPool::instance().run(tasks, threads, [&](std::size_t task) {
    work(problem, task * size, std::min(problem.rows, (task + 1) * size));
  });
}

}  // namespace lic_fast::channels
