// What belongs to one process, and not to the children that it forks.

#pragma once

#include <atomic>
#include <memory>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace lic_fast::cpu {

/// The process's number, never 0.
inline long process_id() {
#if defined(_WIN32)
  return 1;
#else
  return static_cast<long>(getpid());
#endif
}

/// A T that is made when it is first asked for, and made anew in a forked child: the child has the
/// parent's memory, but none of the threads that were at work on it or held its mutexes. It is
/// never destroyed, as threads may outlive static objects.
template <class T>
class PerProcess {
 public:
  T& get() {
    Made* made = made_.load();
    while (made == nullptr || made->process != process_id()) {
      auto fresh = std::make_unique<Made>();
      if (made_.compare_exchange_weak(made, fresh.get())) return fresh.release()->value;
    }
    return made->value;
  }

 protected:
  struct Made {
    const long process = process_id();
    T value;
  };

  std::atomic<Made*> made_{nullptr};
};

}  // namespace lic_fast::cpu
