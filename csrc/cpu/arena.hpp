// Memory for the length of a call, kept for later ones.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
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
/// Where there is none, a new one takes the place of those that it can be used instead of. Blocks
/// that have not been of use for a while are freed.
class ArenaPool {
  struct Block {
    char* data = nullptr;
    std::size_t bytes = 0, alignment = 0;
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

  /// A caller's own memory, at the begin of a cache line.
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
  static constexpr std::size_t kCalls = 64;

  static Block allocate(std::size_t bytes) {
    const std::size_t whole = bytes >= 2 * kHugePage ? kHugePage : kLine;
    bytes = (bytes + whole - 1) / whole * whole;
    Block block{static_cast<char*>(::operator new(bytes, std::align_val_t{whole})), bytes, whole,
                0};
#if defined(__linux__)
    // Only advice: without huge pages it is as good, and slower.
    if (whole == kHugePage) static_cast<void>(madvise(block.data, bytes, MADV_HUGEPAGE));
#endif
    return block;
  }
  static void release(const Block& block) {
    ::operator delete(block.data, std::align_val_t{block.alignment});
  }

  Block take(std::size_t bytes) {
    std::vector<Block> replaced;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      auto best = free_.end();
      for (auto block = free_.begin(); block != free_.end(); ++block) {
        const bool fits = block->bytes >= bytes && block->bytes <= most_for(bytes);
        // Of equal ones the last that was given back, which may be in the cache.
        if (fits && (best == free_.end() || block->bytes <= best->bytes)) best = block;
      }
      if (best != free_.end()) {
        const Block block = *best;
        free_.erase(best);
        return block;
      }
      const auto first = std::partition(free_.begin(), free_.end(), [&](const Block& other) {
        return other.bytes >= bytes || other.bytes <= kSmall || bytes > most_for(other.bytes);
      });
      replaced.assign(first, free_.end());
      free_.erase(first, free_.end());
    }
    for (const Block& other : replaced) release(other);
    return allocate(bytes);
  }

  /// The largest block that a call gets.
  static std::size_t most_for(std::size_t bytes) { return std::max(kSmall, 4 * bytes); }

  void give_back(Block block) {
    block.unused = 0;
    std::vector<Block> old;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (Block& other : free_) ++other.unused;
      const auto first = std::partition(free_.begin(), free_.end(),
                                        [](const Block& other) { return other.unused < kCalls; });
      old.assign(first, free_.end());
      free_.erase(first, free_.end());
      free_.push_back(block);
    }
    for (const Block& other : old) release(other);
  }

  std::mutex mutex_;
  std::vector<Block> free_;
};

}  // namespace lic_fast::cpu
