// Range asymmetric numeral systems (Duda, arXiv:1311.2540): a state, a put and a get.
//
// Invariant: between two operations the state x lies in [2^L, 2^(L+W)), W being the bits of a
// word. To put a symbol that owns the slots [start, start + freq) of the 2^P there are, the
// encoder first moves at most one word from x to the stream, until x < freq * 2^(L+W-P), then
// takes x = (x / freq) * 2^P + x % freq + start. The decoder does the inverse in opposite order,
// reading at most one word after each symbol. One word is enough since P <= L and P <= W.
//
// The stream is what the decoder reads: the words of the last state, low one first, then the
// words that the encoder moved out, last one first. All words are little-endian.

#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "ans/error.hpp"

namespace lic_fast::ans {

template <class StateType, class WordType, unsigned LowerBits, unsigned ProbabilityBits>
struct RansParameters {
  using State = StateType;
  using Word = WordType;
  static constexpr unsigned kStateBits = std::numeric_limits<State>::digits;
  static constexpr unsigned kWordBits = std::numeric_limits<Word>::digits;
  static constexpr unsigned kPrecision = ProbabilityBits;
  static constexpr unsigned kUpperBits = LowerBits + kWordBits;
  static constexpr State kInitialState = State{1} << LowerBits;
  static constexpr std::size_t kWordBytes = kWordBits / 8;
  static constexpr std::size_t kStateWords = kStateBits / kWordBits;

  static_assert(!std::numeric_limits<State>::is_signed && !std::numeric_limits<Word>::is_signed);
  static_assert(kPrecision <= LowerBits && kPrecision <= kWordBits && kPrecision < 32);
  static_assert(kWordBits < kStateBits && kStateBits % kWordBits == 0);
  static_assert(kUpperBits <= kStateBits);

  /// Whether `state` satisfies the invariant. (Two shifts: one by all bits would be undefined.)
  static constexpr bool valid(State state) {
    return state >= kInitialState && ((state >> (kUpperBits - 1)) >> 1) == 0;
  }
};

/// The parameters of compressai.ans, which are those of ryg_rans' rans64.h.
using Rans64 = RansParameters<std::uint64_t, std::uint32_t, 31, 16>;

/// Takes symbols in reverse order: the last one put is the first one that the decoder gets.
template <class Parameters>
class RansEncoderCore {
 public:
  using State = typename Parameters::State;
  using Word = typename Parameters::Word;

  /// Requires 0 < freq and start + freq <= 2^P.
  void put(std::uint32_t start, std::uint32_t freq) {
    renormalise(freq);
    state_ = ((state_ / freq) << Parameters::kPrecision) + state_ % freq + start;
  }

  /// Puts `count` <= P raw bits. Requires value < 2^count.
  void put_bits(std::uint32_t value, unsigned count) {
    renormalise(std::uint32_t{1} << (Parameters::kPrecision - count));
    state_ = (state_ << count) | value;
  }

  State state() const { return state_; }

  /// The whole stream.
  std::string finish() const {
    std::string bytes;
    bytes.reserve((Parameters::kStateWords + words_.size()) * Parameters::kWordBytes);
    for (unsigned i = 0; i < Parameters::kStateWords; ++i) {
      append(bytes, static_cast<Word>(state_ >> (i * Parameters::kWordBits)));
    }
    for (auto word = words_.rbegin(); word != words_.rend(); ++word) append(bytes, *word);
    return bytes;
  }

 private:
  void renormalise(std::uint32_t freq) {
    // x >= freq * 2^(L+W-P), written so that nothing overflows.
    if ((state_ >> (Parameters::kUpperBits - Parameters::kPrecision)) >= freq) {
      words_.push_back(static_cast<Word>(state_));
      state_ >>= Parameters::kWordBits;
    }
  }

  static void append(std::string& bytes, Word word) {
    for (unsigned i = 0; i < Parameters::kWordBytes; ++i) {
      bytes.push_back(static_cast<char>((word >> (8 * i)) & 0xff));
    }
  }

  State state_ = Parameters::kInitialState;
  std::vector<Word> words_;
};

/// Reads a stream that it does not own. A copy is an independent reader at the same position.
template <class Parameters>
class RansDecoderCore {
 public:
  using State = typename Parameters::State;
  using Word = typename Parameters::Word;

  /// Throws StreamError where the stream has no state, or one outside the invariant.
  RansDecoderCore(const char* data, std::size_t size) : next_(data), end_(data + size) {
    constexpr std::size_t kStateBytes = Parameters::kStateWords * Parameters::kWordBytes;
    if (size < kStateBytes) {
      throw StreamError("the stream has " + std::to_string(size) + " bytes; the shortest one has " +
                        std::to_string(kStateBytes));
    }
    if (size % Parameters::kWordBytes != 0) {
      throw StreamError("the stream has " + std::to_string(size) +
                        " bytes, which is no multiple of " +
                        std::to_string(Parameters::kWordBytes));
    }
    for (unsigned i = 0; i < Parameters::kStateWords; ++i) {
      state_ |= static_cast<State>(next_word()) << (i * Parameters::kWordBits);
    }
    if (!Parameters::valid(state_)) {
      throw StreamError("the stream does not begin with a possible state");
    }
  }

  /// The slot in [0, 2^P) that the next symbol owns.
  std::uint32_t slot() const {
    return static_cast<std::uint32_t>(state_ & ((State{1} << Parameters::kPrecision) - 1));
  }

  /// Removes the symbol that owns slot(), which lies in [start, start + freq).
  void advance(std::uint32_t start, std::uint32_t freq) {
    state_ = freq * (state_ >> Parameters::kPrecision) + (slot() - start);
    renormalise();
  }

  /// Removes `count` <= P raw bits and returns them.
  std::uint32_t get_bits(unsigned count) {
    const auto value = static_cast<std::uint32_t>(state_ & ((State{1} << count) - 1));
    state_ >>= count;
    renormalise();
    return value;
  }

  State state() const { return state_; }

  /// Throws StreamError unless all words are read and the state is the encoder's first one.
  void check_finished() const {
    if (next_ != end_) {
      throw StreamError("the stream has " + std::to_string(end_ - next_) +
                        " bytes more than its symbols need");
    }
    if (state_ != Parameters::kInitialState) {
      throw StreamError(
          "the stream does not end in the initial state: it is damaged, or was "
          "decoded with other tables or indexes");
    }
  }

 private:
  void renormalise() {
    if (state_ < Parameters::kInitialState) {
      if (next_ == end_) throw StreamError("the stream is too short for its symbols");
      state_ = (state_ << Parameters::kWordBits) | next_word();
    }
  }

  Word next_word() {
    Word word = 0;
    for (unsigned i = 0; i < Parameters::kWordBytes; ++i) {
      const auto byte = static_cast<unsigned char>(next_[i]);
      word = static_cast<Word>(word | (static_cast<Word>(byte) << (8 * i)));
    }
    next_ += Parameters::kWordBytes;
    return word;
  }

  State state_ = 0;
  const char* next_;
  const char* end_;
};

}  // namespace lic_fast::ans
