// What is made once, and what a forked child can use whatever its parent's threads were at.

#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "cpu/process.hpp"

namespace lic_fast::cpu {

/// A T of another object, made when it is first asked for, and made anew in a forked child: see
/// PerProcess. It is destroyed with the object, unless it was a parent's, of which the child can
/// not know what its threads had left of it.
template <class T>
class Part : public PerProcess<T> {
 public:
  Part() = default;
  ~Part() {
    const auto* const made = this->made_.load();
    if (made != nullptr && made->process == process_id()) delete made;
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
};

/// A T that the first call makes. Other threads wait for it; a child that is forked meanwhile makes
/// its own, as std::call_once would not.
template <class T>
class Once {
 public:
  Once() = default;
  ~Once() { delete value_.load(); }
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

  /// `make` returns a std::unique_ptr<const T>. Where it throws the next call makes it.
  template <class Make>
  const T& get(const Make& make) {
    if (const T* const value = found()) return *value;
    const std::lock_guard<std::mutex> lock(making_.get());
    if (const T* const value = found()) return *value;
    std::unique_ptr<const T> made = make();
    value_.store(made.get());
    return *made.release();
  }

  /// What has been made, or null.
  const T* found() const { return value_.load(); }

 private:
  std::atomic<const T*> value_{nullptr};
  Part<std::mutex> making_;
};

}  // namespace lic_fast::cpu
