// Memory for the length of a call, kept for the next one.

#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace lic_fast::integer {

/// What all calls of the process take from and give back to, the last one first: it is in the
/// nearest cache.
class ScratchPool {
 public:
  using Memory = std::vector<std::uint8_t>;

  /// A caller's own, at the beginning of a cache line.
  class Scratch {
   public:
    Scratch(ScratchPool& pool, std::size_t bytes) : pool_(pool), memory_(pool.take()) {
      if (memory_.size() < bytes + kLine) memory_.resize(bytes + kLine);
    }
    ~Scratch() { pool_.give_back(std::move(memory_)); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    std::uint8_t* data() {
      const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
      return memory_.data() + (kLine - address % kLine) % kLine;
    }

   private:
    static constexpr std::size_t kLine = 64;
    ScratchPool& pool_;
    Memory memory_;
  };

 private:
  Memory take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return {};
    Memory memory = std::move(free_.back());
    free_.pop_back();
    return memory;
  }
  void give_back(Memory memory) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(memory));
  }

  std::mutex mutex_;
  std::vector<Memory> free_;
};

}  // namespace lic_fast::integer
