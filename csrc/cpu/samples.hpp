// Sampled words of a piece of memory, hashed: what tells rewritten weights from those before.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lic_fast::cpu {

/// Bytes up to which a piece is read as a whole: biases and the weights of norms.
constexpr std::size_t kReadWhole = 4096;
/// Words that are read of a longer piece, and its last one.
constexpr std::size_t kSamples = 64;

/// A permutation of the 64-bit numbers in which every bit of the result depends on every bit.
inline std::uint64_t scrambled(std::uint64_t x) {
  x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93ULL;
  x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93ULL;
  return x ^ (x >> 32);
}

/// Adds words to a hash. Four chains, so that one word need not wait for the one before.
class SampleHash {
 public:
  void add(std::uint64_t word) {
    std::uint64_t& chain = chains_[count_++ % chains_.size()];
    chain = scrambled(chain ^ word) + 1;
  }

  /// Adds a piece: all of it if it is short, else one word at a fixed random place in each of
  /// kSamples equal runs, and the last. So each contiguous change of two runs or more is seen, and
  /// what repeats at some distance, as the columns of a matrix do, does not fall between samples.
  void add(const unsigned char* data, std::size_t bytes) {
    const auto word_at = [data](std::size_t offset, std::size_t size) {
      std::uint64_t word = 0;
      std::memcpy(&word, data + offset, size);
      return word;
    };
    add(bytes);
    if (bytes <= kReadWhole) {
      for (std::size_t i = 0; i < bytes; i += 8)
        add(word_at(i, std::min<std::size_t>(8, bytes - i)));
      return;
    }
    const std::size_t words = bytes / 8;
    for (std::size_t i = 0; i < kSamples; ++i) {
      const std::size_t begin = i * words / kSamples;
      const std::size_t run = (i + 1) * words / kSamples - begin;
      add(word_at(8 * (begin + scrambled(i + 1) % run), 8));
    }
    add(word_at(bytes - 8, 8));
  }

  std::uint64_t result() const {
    std::uint64_t whole = count_;
    for (const std::uint64_t chain : chains_) whole = scrambled(whole ^ chain) + 1;
    return whole;
  }

 private:
  std::array<std::uint64_t, 4> chains_{1, 2, 3, 4};
  std::size_t count_ = 0;
};

}  // namespace lic_fast::cpu
