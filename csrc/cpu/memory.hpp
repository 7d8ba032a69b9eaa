// What the operators need of the process's memory: reuse of freed blocks.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace lic_fast::cpu {

/// Sets from which size on malloc asks the system for each block, and how much freed memory at
/// the top of the heap it keeps. A feature map fresh from the system costs a page fault for each
/// 4 KiB, which takes longer than the convolution that fills it. False where malloc is not glibc's.
inline bool set_malloc_thresholds(int map_from, int keep) {
#if defined(__GLIBC__)
  return mallopt(M_MMAP_THRESHOLD, map_from) == 1 && mallopt(M_TRIM_THRESHOLD, keep) == 1;
#else
  static_cast<void>(map_from);
  static_cast<void>(keep);
  return false;
#endif
}

#if defined(__GLIBC__) && defined(MADV_HUGEPAGE)
#define LIC_FAST_HUGE_PAGES

/// Where malloc's heap begins, 0 if it has none that grows by sbrk.
inline std::uintptr_t heap_begin() {
  static const std::uintptr_t begin = [] {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("[heap]") == std::string::npos) continue;
      return static_cast<std::uintptr_t>(std::strtoull(line.c_str(), nullptr, 16));
    }
    return std::uintptr_t{0};
  }();
  return begin;
}
#endif

/// Asks the system to back the heap by huge pages, with so many bytes that malloc hands out next:
/// without them a good part of what maps and weights cost is looking up where their pages are. The
/// bytes are asked for in blocks, below the size from which on malloc takes each from the system
/// anew. That reserves addresses, and memory only where the system is told to back all at once.
/// Threads other than the main one have heaps of their own, too small for maps; nothing changes for
/// them, nor where there are no huge pages.
inline void prefer_huge_pages(std::size_t bytes, std::size_t block) {
#ifdef LIC_FAST_HUGE_PAGES
  std::vector<void*> blocks;
  for (std::size_t total = 0; block > 0 && total + block <= bytes; total += block) {
    void* const memory = std::malloc(block);
    if (memory == nullptr) break;
    blocks.push_back(memory);
  }
  constexpr std::uintptr_t kPage = std::uintptr_t{1} << 21;
  const std::uintptr_t begin = (heap_begin() + kPage - 1) / kPage * kPage;
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(sbrk(0)) / kPage * kPage;
  if (begin != 0 && begin < end) {
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  }
  // From the top downwards, so that each becomes part of it.
  for (; !blocks.empty(); blocks.pop_back()) std::free(blocks.back());
#else
  static_cast<void>(bytes);
  static_cast<void>(block);
#endif
}

/// Gives freed memory back to the system.
inline void release_freed_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace lic_fast::cpu
