// A lane: rANS (Duda, arXiv:1311.2540) with one 32-bit state, 16-bit words and 16-bit
// probabilities; see docs/format.md. These are the definitions that every kernel is held to.
//
// Invariant: between two operations the state x is in [2^16, 2^32). To put a symbol that owns
// the slots [start, start + freq) of the 2^16 there are, the encoder first moves one word out if
// x >= 2^16 freq, then takes x = (x / freq) 2^16 + x % freq + start. To take it, the decoder does
// the inverse and then moves one word in if x < 2^16. One word is enough: moving it out leaves
// x < 2^16 <= 2^16 freq.

#pragma once

#include <cstdint>

#include "rans/format.hpp"

namespace lic_fast::rans {

/// Where a decoder's words come from: two runs of them, one after the other.
class Words {
 public:
  Words() = default;
  Words(const std::uint16_t* begin, const std::uint16_t* end) : next(begin), end(end) {}

  std::uint16_t read() {
    if (next == end) begin_second();
    return *next++;
  }

  /// What follows when `end` is reached.
  void then(const std::uint16_t* begin, const std::uint16_t* second_end) {
    second_ = begin;
    second_end_ = second_end;
  }

  /// Whether the first run is used up and what is left of the second one is zero.
  bool finished() const {
    if (in_second_) return all_zero(next, end);
    return next == end && all_zero(second_, second_end_);
  }

  const std::uint16_t* next = nullptr;
  const std::uint16_t* end = nullptr;

 private:
  void begin_second() {
    if (in_second_ || second_ == second_end_) {
      throw StreamError("the stream is too short for its symbols");
    }
    next = second_;
    end = second_end_;
    in_second_ = true;
  }

  static bool all_zero(const std::uint16_t* from, const std::uint16_t* to) {
    while (from != to && *from == 0) ++from;
    return from == to;
  }

  const std::uint16_t* second_ = nullptr;
  const std::uint16_t* second_end_ = nullptr;
  bool in_second_ = false;
};

inline void refill(std::uint32_t& x, Words& words) {
  if (x < kLowerBound) x = x << 16 | words.read();
}

/// Removes the symbol that owns the slot x mod 2^16.
inline void take(std::uint32_t& x, std::uint32_t start, std::uint32_t freq, Words& words) {
  x = freq * (x >> 16) + (x & 0xffff) - start;
  refill(x, words);
}

/// Removes `count` <= 16 raw bits.
inline std::uint32_t take_bits(std::uint32_t& x, unsigned count, Words& words) {
  const std::uint32_t value = x & ((1u << count) - 1);
  x >>= count;
  refill(x, words);
  return value;
}

/// Adds a symbol. `to` has room for a word.
inline void put(std::uint32_t& x, std::uint32_t start, std::uint32_t freq, std::uint16_t*& to) {
  if (x >> 16 >= freq) {
    *to++ = static_cast<std::uint16_t>(x);
    x >>= 16;
  }
  x = (x / freq << 16) + x % freq + start;
}

/// Adds `count` <= 16 raw bits. Requires value < 2^count.
inline void put_bits(std::uint32_t& x, std::uint32_t value, unsigned count, std::uint16_t*& to) {
  if (x >> 16 >= 1u << (16 - count)) {
    *to++ = static_cast<std::uint16_t>(x);
    x >>= 16;
  }
  x = x << count | value;
}

}  // namespace lic_fast::rans
