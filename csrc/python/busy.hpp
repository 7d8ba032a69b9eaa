// Objects that one thread at a time uses, without waiting.

#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/process.hpp"

namespace lic_fast::python {

/// A T whose methods run without the GIL, for one thread at a time.
///
/// A process that forks while another thread uses the T leaves the child one that is half changed,
/// and no thread that would finish. The child's first use makes a new T; the old one's memory is
/// lost, as nothing may touch it.
template <class T>
class Exclusive {
 public:
  using Make = std::function<std::unique_ptr<T>()>;

  Exclusive(std::string name, Make make)
      : name_(std::move(name)), make_(std::move(make)), object_(make_()) {}

  /// The T, for as long as this lives.
  class Use {
   public:
    explicit Use(Exclusive& owner) : owner_(owner) {
      const long process = cpu::process_id();
      long user = 0;
      while (!owner_.user_.compare_exchange_weak(user, process, std::memory_order_acquire)) {
        if (user == process) {
          throw std::runtime_error("this " + owner_.name_ +
                                   " is in use by another thread; give each thread its own");
        }
        renewed_ = user != 0;
      }
      if (renewed_) renew(user);
    }
    ~Use() { owner_.user_.store(0, std::memory_order_release); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    T& operator*() const { return *owner_.object_; }
    T* operator->() const { return owner_.object_.get(); }

    /// Throws std::runtime_error if what the T held was lost by a fork.
    const Use& not_renewed() const {
      if (!renewed_) return *this;
      throw std::runtime_error("this " + owner_.name_ +
                               " was in use when the process was forked: what it held is lost, and "
                               "it is empty now");
    }

   private:
    void renew(long parent) {
      try {
        std::unique_ptr<T> fresh = owner_.make_();
        static_cast<void>(owner_.object_.release());
        owner_.object_ = std::move(fresh);
      } catch (...) {
        owner_.user_.store(parent, std::memory_order_release);
        throw;
      }
    }

    Exclusive& owner_;
    bool renewed_ = false;
  };

 private:
  const std::string name_;
  const Make make_;
  std::unique_ptr<T> object_;
  std::atomic<long> user_{0};  // the process that uses it, 0 if none does
};

}  // namespace lic_fast::python
