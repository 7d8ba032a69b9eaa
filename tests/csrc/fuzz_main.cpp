// Drives a libFuzzer target where there is no libFuzzer: random mutations, and a corpus of the
// inputs that reached new code.
//
//   fuzz SECONDS [SEED [CORPUS [FOUND]]]   runs for so long, from the files of the folder CORPUS
//                                          on; writes what reached new code to the folder FOUND
//   fuzz -r FILE                           runs one input
//
// An input that fails, or runs for more than 10 seconds, is written to crash.bin. The target is
// compiled with -fsanitize-coverage=trace-pc, this file without.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::size_t kLongestInput = 2048;
constexpr unsigned kSecondsForOneInput = 10;

std::array<bool, 1 << 16> reached{};
bool reached_new = false;
std::uintptr_t last_place = 0;
Input current;

void save_current() {
  std::FILE* file = std::fopen("crash.bin", "wb");
  if (file == nullptr) return;
  std::fwrite(current.data(), 1, current.size(), file);
  std::fclose(file);
  std::fprintf(stderr, "the input is in crash.bin (%zu bytes)\n", current.size());
}

void on_signal(int signal) {
  if (signal == SIGALRM) std::fprintf(stderr, "an input takes too long\n");
  save_current();
  std::_Exit(1);
}

void run(const Input& input) {
  current = input;
  last_place = 0;
  alarm(kSecondsForOneInput);
  // Memory of just this size, so that reading past it is noticed.
  const Input exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  alarm(0);
}

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }

  Input mutate(Input input, const Input& other) {
    for (std::size_t i = 1 + below(6); i > 0; --i) mutate_once(input, other);
    if (input.size() > kLongestInput) input.resize(kLongestInput);
    return input;
  }

 private:
  void mutate_once(Input& input, const Input& other) {
    static constexpr std::uint8_t kEdges[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x0f, 0xf0};
    const std::size_t at = below(input.size() + 1);
    const auto position = input.begin() + static_cast<std::ptrdiff_t>(at);
    const std::size_t left = input.size() - at;
    switch (below(8)) {
      case 0:
        if (left != 0) input[at] ^= static_cast<std::uint8_t>(1u << below(8));
        break;
      case 1:
        if (left != 0) input[at] = static_cast<std::uint8_t>(below(256));
        break;
      case 2:
        if (left != 0) input[at] = kEdges[below(std::size(kEdges))];
        break;
      case 3: {  // random bytes in between
        Input bytes(1 + below(16));
        for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(below(256));
        input.insert(position, bytes.begin(), bytes.end());
        break;
      }
      case 4:  // a piece taken out
        input.erase(position, position + static_cast<std::ptrdiff_t>(below(left + 1)));
        break;
      case 5: {  // a piece of another input in between
        const std::size_t from = below(other.size() + 1);
        const std::size_t count = below(other.size() - from + 1);
        const auto begin = other.begin() + static_cast<std::ptrdiff_t>(from);
        input.insert(position, begin, begin + static_cast<std::ptrdiff_t>(count));
        break;
      }
      case 6: {  // a piece of another input in place
        const std::size_t count = std::min(left, other.size() - std::min(at, other.size()));
        if (count != 0) std::copy_n(other.data() + at, below(count + 1), input.data() + at);
        break;
      }
      default:  // the end cut off
        if (below(4) == 0) input.erase(position, input.end());
        break;
    }
  }

  std::mt19937_64 random_;
};

Input read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    std::exit(2);
  }
  return Input(std::istreambuf_iterator<char>(file), {});
}

/// The empty input and the files of a folder, in the order of their names.
std::vector<Input> read_corpus(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Input> corpus{{}};
  for (const auto& path : paths) corpus.push_back(read_file(path));
  return corpus;
}

void write_found(const char* folder, const Input& input, std::size_t number) {
  std::filesystem::create_directories(folder);
  std::ofstream file(std::filesystem::path(folder) / (std::to_string(number) + ".bin"),
                     std::ios::binary);
  file.write(reinterpret_cast<const char*>(input.data()),
             static_cast<std::streamsize>(input.size()));
}

int fuzz(double seconds, std::uint64_t seed, std::vector<Input> corpus, const char* found) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  Mutator mutator(seed);
  const std::size_t given = corpus.size();
  for (const Input& input : corpus) run(input);
  std::uint64_t runs = 0;
  while (std::chrono::duration<double>(Clock::now() - begin).count() < seconds) {
    for (int i = 0; i < 1000; ++i, ++runs) {
      const Input& other = corpus[mutator.below(corpus.size())];
      const Input input = mutator.mutate(corpus[mutator.below(corpus.size())], other);
      reached_new = false;
      run(input);
      if (!reached_new) continue;
      corpus.push_back(input);
      if (found != nullptr) write_found(found, input, corpus.size());
    }
  }
  std::printf(
      "seed %llu: %zu given and %llu new inputs, %zu of these reached new code, none failed\n",
      static_cast<unsigned long long>(seed), given, static_cast<unsigned long long>(runs),
      corpus.size() - given);
  return 0;
}

int replay(const char* path) {
  run(read_file(path));
  return 0;
}

}  // namespace

/// Called by the target's code on the way from one piece of it to the next.
extern "C" void __sanitizer_cov_trace_pc() {
  // From one address of the target's, so that a run is the same wherever the program is loaded.
  const std::uintptr_t place = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) -
                               reinterpret_cast<std::uintptr_t>(&LLVMFuzzerTestOneInput);
  bool& flag = reached[(place ^ (last_place << 1)) % reached.size()];
  if (!flag) flag = reached_new = true;
  last_place = place;
}

// So that what the sanitizers find ends in on_signal too.
extern "C" const char* __asan_default_options() { return "abort_on_error=1"; }
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }

int main(int count, char** arguments) {
  std::signal(SIGABRT, on_signal);
  std::signal(SIGALRM, on_signal);
  if (count == 3 && std::strcmp(arguments[1], "-r") == 0) return replay(arguments[2]);
  if (count < 2 || std::atof(arguments[1]) <= 0) {
    std::fprintf(stderr, "usage: %s SECONDS [SEED [CORPUS [FOUND]]], or %s -r FILE\n", arguments[0],
                 arguments[0]);
    return 2;
  }
  return fuzz(std::atof(arguments[1]), count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1,
              count > 3 ? read_corpus(arguments[3]) : std::vector<Input>{{}},
              count > 4 ? arguments[4] : nullptr);
}
