#include "cpu/copy.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "cpu/thread_pool.hpp"

namespace lic_fast::cpu {
namespace {

// Numbers of a task: less is done before another thread has woken.
constexpr std::size_t kTask = std::size_t{1} << 15;

/// The same numbers in as few dimensions as can be, in the order of the copy.
std::vector<Dimension> merged(std::vector<Dimension> all) {
  all.erase(std::remove_if(all.begin(), all.end(), [](const Dimension& d) { return d.size == 1; }),
            all.end());
  std::stable_sort(all.begin(), all.end(),
                   [](const Dimension& a, const Dimension& b) { return a.to > b.to; });
  std::vector<Dimension> few;
  for (const Dimension& d : all) {
    if (!few.empty() && few.back().from == d.from * d.size && few.back().to == d.to * d.size) {
      few.back() = {few.back().size * d.size, d.from, d.to};
    } else {
      few.push_back(d);
    }
  }
  return few;
}

template <class Number>
void copy_run(const unsigned char* from, unsigned char* to, const Dimension& run,
              std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(to + i * run.to, from + i * run.from, sizeof(Number));
  }
}

using Run = void (*)(const unsigned char*, unsigned char*, const Dimension&, std::size_t);

void copy_dense(const unsigned char* from, unsigned char* to, const Dimension& run,
                std::size_t count) {
  std::memcpy(to, from, count * run.to);
}

Run function_for(const Dimension& run, std::size_t item) {
  if (run.from == item && run.to == item) return &copy_dense;
  switch (item) {
    case 1:
      return &copy_run<std::uint8_t>;
    case 2:
      return &copy_run<std::uint16_t>;
    case 4:
      return &copy_run<std::uint32_t>;
    default:
      return &copy_run<std::uint64_t>;
  }
}

}  // namespace

void copy(std::vector<Dimension> dimensions, const void* from, void* to, std::size_t item,
          unsigned threads) {
  std::size_t total = 1;
  for (const Dimension& d : dimensions) total *= d.size;
  if (total == 0) return;
  std::vector<Dimension> outer = merged(std::move(dimensions));
  const Dimension run = outer.empty() ? Dimension{1, item, item} : outer.back();
  if (!outer.empty()) outer.pop_back();
  const Run work = function_for(run, item);
  ThreadPool::instance().run((total + kTask - 1) / kTask, threads, [&](std::size_t task) {
    const std::size_t end = std::min(total, (task + 1) * kTask);
    for (std::size_t i = task * kTask; i < end;) {
      const std::size_t within = i % run.size;
      const std::size_t count = std::min(run.size - within, end - i);
      auto* source = static_cast<const unsigned char*>(from) + within * run.from;
      auto* target = static_cast<unsigned char*>(to) + within * run.to;
      std::size_t rest = i / run.size;
      for (auto d = outer.rbegin(); d != outer.rend(); ++d) {
        source += rest % d->size * d->from;
        target += rest % d->size * d->to;
        rest /= d->size;
      }
      work(source, target, run, count);
      i += count;
    }
  });
}

}  // namespace lic_fast::cpu
