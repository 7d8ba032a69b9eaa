// Threads that wait for work, shared by everything in the process.

#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "cpu/process.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace lic_fast::cpu {

/// Runs tasks on the calling thread and on workers, which are started when they are first asked
/// for and then kept. Calls from several threads share the workers; each caller works on its own
/// tasks too, so that a call ends even if every worker is busy elsewhere.
class ThreadPool {
 public:
  /// The process's pool.
  static ThreadPool& instance() {
    static PerProcess<ThreadPool> shared;
    return shared.get();
  }

  /// Starts the workers of `threads` threads, for tasks that call `run` themselves.
  void prepare(unsigned threads) {
    const std::lock_guard<std::mutex> lock(mutex_);
    start(std::min<std::size_t>(std::max(threads, 1u), kMaxThreads) - 1);
  }

  /// Calls task(0) to task(count - 1) on at most `threads` threads and returns when all are done.
  /// Rethrows the exception of the first task, by number, of those that threw.
  void run(std::size_t count, unsigned threads, const std::function<void(std::size_t)>& task) {
    threads = static_cast<unsigned>(std::min<std::size_t>({threads, count, kMaxThreads}));
    if (threads <= 1) {
      for (std::size_t i = 0; i < count; ++i) task(i);
      return;
    }
    const auto job = std::make_shared<Job>(count, threads - 1, task);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      start(threads - 1);
      // A worker that calls has been kept off others' CPUs itself.
      if (!is_worker()) keep_off_this_cpu();
      jobs_.push_back(job);
      waiting_.store(jobs_.size());
    }
    for (unsigned i = 1; i < threads; ++i) wake_.notify_one();
    job->help();
    {
      // Helpers that did not come in time have nothing left to do.
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto mine = std::find(jobs_.begin(), jobs_.end(), job);
      if (mine != jobs_.end()) jobs_.erase(mine);
      waiting_.store(jobs_.size());
    }
    job->wait();
  }

 private:
  static constexpr std::size_t kMaxThreads = 256;

  /// Looks at a condition for a time that is about what it takes to wake a thread.
  template <class Condition>
  static void spin_until(const Condition& met) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
    while (!met() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  }

  class Job {
   public:
    Job(std::size_t count, unsigned helpers, const std::function<void(std::size_t)>& task)
        : helpers(helpers), count_(count), task_(task) {}

    /// Runs tasks until none is left to begin.
    void help() {
      for (;;) {
        const std::size_t i = next_.fetch_add(1);
        if (i >= count_) return;
        std::exception_ptr error;
        try {
          task_(i);  // alive, as the caller waits for every task that began
        } catch (...) {
          error = std::current_exception();
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        if (error && i < first_error_) {
          first_error_ = i;
          error_ = std::move(error);
        }
        if (done_.fetch_add(1) + 1 == count_) finished_.notify_all();
      }
    }

    void wait() {
      // Most often the others are about to be done, and to be woken would take longer.
      spin_until([this] { return done_.load() == count_; });
      std::unique_lock<std::mutex> lock(mutex_);
      finished_.wait(lock, [this] { return done_.load() == count_; });
      // Moved, so that the exception is the caller's alone and no worker's to destroy.
      if (error_) std::rethrow_exception(std::move(error_));
    }

    unsigned helpers;  // still wanted; guarded by the pool's mutex

   private:
    const std::size_t count_;
    const std::function<void(std::size_t)>& task_;
    std::atomic<std::size_t> next_{0};
    std::mutex mutex_;
    std::condition_variable finished_;
    std::atomic<std::size_t> done_{0};
    std::size_t first_error_ = static_cast<std::size_t>(-1);
    std::exception_ptr error_;
  };

  void start(std::size_t workers) {
    try {
      while (workers_.size() < workers) workers_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      // The system gives no more threads: those that there are, and the caller, do the work.
    }
  }

  /// Lets the workers run on every CPU that the caller may use but the one that it is using.
  ///
  /// Linux wakes a thread where it last ran, or beside its waker, and moves it away at a later
  /// tick only: on a virtual machine all of a job can be over before its second CPU is used.
  void keep_off_this_cpu() {
#if defined(__linux__)
    const int cpu = sched_getcpu();
    if (cpu < 0 || (cpu == kept_off_ && placed_ == workers_.size())) return;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;  // more CPUs than it can hold
    if (CPU_COUNT(&allowed) < 2 || !CPU_ISSET(cpu, &allowed)) return;
    CPU_CLR(cpu, &allowed);
    for (std::thread& worker : workers_) {
      pthread_setaffinity_np(worker.native_handle(), sizeof allowed, &allowed);
    }
    kept_off_ = cpu;
    placed_ = workers_.size();
#endif
  }

  static bool& is_worker() {
    static thread_local bool worker = false;
    return worker;
  }

  void work() {
    is_worker() = true;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return !jobs_.empty(); });
      const std::shared_ptr<Job> job = jobs_.front();
      if (--job->helpers == 0) jobs_.pop_front();
      waiting_.store(jobs_.size());
      lock.unlock();
      job->help();
      // The next step of a message often follows at once.
      spin_until([this] { return waiting_.load() != 0; });
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::atomic<std::size_t> waiting_{0};  // jobs_.size(), to be seen without the mutex
  std::vector<std::thread> workers_;     // never joined: the pool is never destroyed
  int kept_off_ = -1;                    // the CPU that workers_.size() == placed_ of them avoid
  std::size_t placed_ = 0;
};

}  // namespace lic_fast::cpu
