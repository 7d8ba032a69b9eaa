// One thread at a time, without waiting.

#pragma once

#include <atomic>
#include <stdexcept>
#include <string>

namespace lic_fast::python {

/// Marks an object as in use while its methods run without the GIL.
class BusyFlag {
 public:
  class Guard {
   public:
    Guard(BusyFlag& flag, const std::string& name) : flag_(flag) {
      if (flag_.busy_.test_and_set(std::memory_order_acquire)) {
        throw std::runtime_error("this " + name +
                                 " is in use by another thread; give each thread its own");
      }
    }
    ~Guard() { flag_.busy_.clear(std::memory_order_release); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    BusyFlag& flag_;
  };

 private:
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

}  // namespace lic_fast::python
