// The pool and the coders that use it, from several threads at once; for ThreadSanitizer.

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "ans/tables.hpp"
#include "check.hpp"
#include "cpu/isa.hpp"
#include "cpu/thread_pool.hpp"
#include "rans/decoder.hpp"
#include "rans/encoder.hpp"
#include "rans/kernels.hpp"

namespace {

using lic_fast::ans::CdfTables;
using lic_fast::cpu::ThreadPool;

void from_several_threads(unsigned count, const std::function<void(unsigned)>& body) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < count; ++t) threads.emplace_back([&body, t] { body(t); });
  for (std::thread& thread : threads) thread.join();
}

void test_every_task_runs_once() {
  from_several_threads(3, [](unsigned t) {
    for (unsigned round = 0; round < 200; ++round) {
      std::vector<int> runs(1 + (round + t) % 9, 0);
      ThreadPool::instance().run(runs.size(), 1 + round % 5, [&](std::size_t i) { ++runs[i]; });
      for (const int run : runs) CHECK(run == 1);
    }
  });
}

void test_the_first_exception_is_rethrown() {
  from_several_threads(3, [](unsigned) {
    for (unsigned round = 0; round < 100; ++round) {
      std::atomic<unsigned> runs{0};
      try {
        ThreadPool::instance().run(8, 4, [&](std::size_t i) {
          ++runs;
          if (i >= 3) throw std::runtime_error(std::to_string(i));
        });
        CHECK(false);
      } catch (const std::runtime_error& error) {
        CHECK(std::string(error.what()) == "3");
      }
      CHECK(runs == 8);
    }
  });
}

void test_coders() {
  const std::vector<std::int32_t> cdf{0, 2000, 60000, 65000, 65536};
  const std::int32_t size = 5, offset = -1;
  const CdfTables tables({{cdf.data(), cdf.size()}}, {&size, 1}, {&offset, 1});
  from_several_threads(3, [&](unsigned t) {
    std::mt19937 random(t);
    std::vector<std::int32_t> symbols(100000);
    // Now and then outside of the table.
    for (std::int32_t& symbol : symbols) {
      symbol = random() % 500 == 0 ? 70 : static_cast<std::int32_t>(random() % 3) - 1;
    }
    const std::vector<std::uint8_t> indexes(symbols.size(), 0);
    const auto& kernels = lic_fast::rans::kernels(lic_fast::cpu::default_isa());
    lic_fast::rans::Encoder encoder(kernels, {32, 6});
    lic_fast::rans::Decoder decoder(kernels);
    for (unsigned round = 0; round < 3; ++round) {
      const std::vector<std::string> streams = encoder.encode(
          {{{symbols.data(), indexes.data(), symbols.size()}}, {}}, tables, 2 + round);
      decoder.start(streams[0].data(), streams[0].size());
      std::vector<std::int32_t> decoded(symbols.size());
      decoder.decode(tables, indexes.data(), indexes.size(), decoded.data(), 2 + round);
      decoder.check_finished();
      CHECK(decoded == symbols);
    }
  });
}

}  // namespace

int main() {
  test_every_task_runs_once();
  test_the_first_exception_is_rethrown();
  test_coders();
  std::puts("test_threads: every check holds");
  return 0;
}
