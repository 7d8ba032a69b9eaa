// Memory for the length of a call, kept for later ones.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "cpu/process.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lic_fast::cpu {

/// Blocks of memory that calls take and give back.
///
/// A call gets the smallest free block that is large enough and not much larger than it asks for.
/// Blocks that have not been of use for a while are freed, and at once those beyond kIdle: a call
/// that needs so much takes so long that new memory costs it nothing, and all of it together would
/// be what a process never gives back.
class ArenaPool {
  struct Block {
    char* data = nullptr;
    std::size_t bytes = 0;
    bool mapped = false;
    std::size_t unused = 0;  // calls since one took it
  };

 public:
  /// The process's pool for maps of programs.
  static ArenaPool& maps() {
    static cpu::PerProcess<ArenaPool> shared;  // never destroyed
    return shared.get();
  }
  /// That for what is inside a node or a task, of which a call has many more.
  static ArenaPool& scratch() {
    static cpu::PerProcess<ArenaPool> shared;
    return shared.get();
  }

  /// A caller's own memory, at the begin of a cache line. Throws std::bad_alloc.
  class Arena {
   public:
    using Pool = ArenaPool& (*)();

    Arena(Pool pool, std::size_t bytes) : pool_(pool), block_(pool().take(bytes)) {}
    ~Arena() { pool_().give_back(block_); }  // not the one that a fork may have left behind
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    char* data() const { return block_.data; }
    std::uint8_t* bytes() const { return reinterpret_cast<std::uint8_t*>(block_.data); }

   private:
    const Pool pool_;
    const Block block_;
  };

 private:
  static constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;
  static constexpr std::size_t kSmall = std::size_t{16} << 20;  // not worth freeing for a while
  static constexpr std::size_t kIdle = std::size_t{48} << 20;   // that free blocks have together
  static constexpr std::size_t kCalls = 64;

  static Block allocate(std::size_t bytes) {
    const bool mapped = bytes >= 2 * kHugePage;
    const std::size_t whole = mapped ? kHugePage : kLine;
    if (bytes > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();
    bytes = (bytes + whole - 1) / whole * whole;
#if defined(__linux__)
    if (mapped) return {map(bytes), bytes, true, 0};
#endif
    return {static_cast<char*>(::operator new(bytes, std::align_val_t{kLine})), bytes, false, 0};
  }
  static void release(const Block& block) {
#if defined(__linux__)
    if (block.mapped) {
      munmap(block.data, block.bytes);
      return;
    }
#endif
    ::operator delete(block.data, std::align_val_t{kLine});
  }

#if defined(__linux__)
  /// Memory of the system's own: what the heap has it may keep, in pieces between others.
  static char* map(std::size_t bytes) {
    const std::size_t more = bytes + kHugePage;
    void* const found =
        mmap(nullptr, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
    char* const data = static_cast<char*>(found);
    const std::size_t before =
        (kHugePage - reinterpret_cast<std::uintptr_t>(data) % kHugePage) % kHugePage;
    if (before > 0) munmap(data, before);
    munmap(data + before + bytes, more - before - bytes);
    // Only advice: without huge pages it is as good, and slower.
    static_cast<void>(madvise(data + before, bytes, MADV_HUGEPAGE));
    return data + before;
  }
#endif

  Block take(std::size_t bytes) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      auto best = free_.end();
      for (auto block = free_.begin(); block != free_.end(); ++block) {
        const bool fits = block->bytes >= bytes && block->bytes <= std::max(kSmall, 4 * bytes);
        // Of equal ones the last that was given back, which may be in the cache.
        if (fits && (best == free_.end() || block->bytes <= best->bytes)) best = block;
      }
      if (best != free_.end()) {
        const Block block = *best;
        free_.erase(best);
        return block;
      }
    }
    return allocate(bytes);
  }

  void give_back(Block block) {
    block.unused = 0;
    std::vector<Block> old;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      std::size_t idle = block.bytes;
      for (Block& other : free_) {
        ++other.unused;
        idle += other.bytes;
      }
      const auto first = std::partition(free_.begin(), free_.end(),
                                        [](const Block& other) { return other.unused < kCalls; });
      old.assign(first, free_.end());
      free_.erase(first, free_.end());
      (idle > kIdle ? old : free_).push_back(block);
    }
    for (const Block& other : old) release(other);
  }

  std::mutex mutex_;
  std::vector<Block> free_;
};

}  // namespace lic_fast::cpu
