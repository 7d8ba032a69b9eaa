// Symbols of all steps to a stream.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "ans/escape.hpp"
#include "ans/symbols.hpp"
#include "ans/tables.hpp"
#include "cpu/thread_pool.hpp"
#include "rans/format.hpp"
#include "rans/kernels.hpp"
#include "rans/lane.hpp"

namespace lic_fast::rans {

using ans::CdfTables;

/// Symbols and their indexes, in memory of the caller.
struct Step {
  std::variant<const std::int16_t*, const std::int32_t*> symbols;
  std::variant<const std::uint8_t*, const std::int16_t*> indexes;
  std::size_t size = 0;
};

using Message = std::vector<Step>;

/// A message's part that one substream has.
class Part {
 public:
  Part(const Message& message, std::size_t k, std::size_t substreams) {
    for (const Step& step : message) {
      const Share share(step.size, k, substreams);
      pieces_.push_back({&step, share.begin, share.size()});
      starts_.push_back(size_);
      size_ += share.size();
    }
  }

  std::size_t size() const { return size_; }

  /// Writes the packed intervals of symbols `begin` to `end`; of those outside their table it is
  /// the escape's. Throws std::out_of_range for an index that names no table.
  void find(const CdfTables& tables, const Kernels& kernels, std::size_t begin, std::size_t end,
            std::uint32_t* intervals) const {
    for (std::size_t p = piece_of(begin); begin < end; ++p) {
      const Piece& piece = pieces_[p];
      const std::size_t first = begin - starts_[p];
      const std::size_t count = std::min(piece.size - first, end - begin);
      std::visit(
          [&](const auto* symbols, const auto* indexes) {
            find_in(tables, kernels, symbols, indexes, piece.begin + first, count, intervals);
          },
          piece.step->symbols, piece.step->indexes);
      intervals += count;
      begin += count;
    }
  }

  /// What follows the escape of symbol i, which is outside its table. Throws
  /// std::overflow_error for a symbol that is too far outside.
  std::uint32_t escape_code(const CdfTables& tables, std::size_t i) const {
    const std::size_t p = piece_of(i);
    const std::size_t position = pieces_[p].begin + (i - starts_[p]);
    return std::visit(
        [&](const auto* symbols, const auto* indexes) {
          return ans::escape_code(symbols[position],
                                  ans::checked_row(tables, indexes[position], position), position);
        },
        pieces_[p].step->symbols, pieces_[p].step->indexes);
  }

 private:
  struct Piece {
    const Step* step;
    std::size_t begin;  // in the step
    std::size_t size;
  };

  std::size_t piece_of(std::size_t i) const {
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), i);
    return static_cast<std::size_t>(after - starts_.begin()) - 1;
  }

  template <class Symbol, class Index>
  static void find_in(const CdfTables& tables, const Kernels& kernels, const Symbol* symbols,
                      const Index* indexes, std::size_t position, std::size_t count,
                      std::uint32_t* intervals) {
    std::size_t done = 0;
    if (const auto kernel = kernels.find<Index, Symbol>()) {
      done = kernel(tables.view(), symbols + position, indexes + position, intervals, count);
    }
    const std::uint32_t* all = tables.view().intervals;
    for (; done < count; ++done) {
      const std::size_t at = position + done;
      const CdfTables::Row& row = ans::checked_row(tables, indexes[at], at);
      const std::int64_t value = std::int64_t{symbols[at]} - row.offset;
      const bool inside = value >= 0 && value < row.escape;
      intervals[done] = all[row.first + (inside ? static_cast<std::size_t>(value) : row.escape)];
    }
  }

  std::vector<Piece> pieces_;
  std::vector<std::size_t> starts_;
  std::size_t size_ = 0;
};

/// Encodes one substream; its memory is used again by the next.
class SubstreamEncoder {
 public:
  /// Throws std::out_of_range for an index that names no table, std::overflow_error for a symbol
  /// too far outside its table.
  void encode(const Part& part, const CdfTables& tables, const Kernels& kernels, unsigned lanes) {
    part_ = &part;
    tables_ = &tables;
    kernels_ = &kernels;
    lanes_ = lanes;
    states_.fill(kLowerBound);
    used_ = 0;
    std::size_t left = part.size();
    block_begin_ = left;
    left = encode_tail(left);
    retire();
    groups_ = static_cast<std::uint32_t>(left / lanes);
    while (left > 0) left = encode_head_block(left);
    fold();
    reverse();
  }

  std::uint32_t groups() const { return groups_; }
  std::size_t words() const { return used_; }

  /// The words in the decoder's order, little-endian.
  const std::string& bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kBlock = 4096;     // intervals that stay in the cache
  static constexpr std::size_t kTailBlock = 512;  // few of these are needed
  static_assert(kBlock % kMaxLanes == 0);
  // A tail costs time, as one lane decodes it; this bounds it where symbols hold next to nothing.
  static constexpr std::size_t kMinTailLimit = 1024;
  static constexpr std::size_t kTailShare = 32;
  // Words of one symbol: its interval's, and one for each digit and the number of digits.
  static constexpr std::size_t kMostWords = 2 + ans::kMaxDigits;

  /// Encodes the end of the message by lane 0; returns how many symbols are left.
  std::size_t encode_tail(std::size_t left) {
    const std::size_t size = left;
    const std::size_t limit = std::max(kMinTailLimit, size / kTailShare);
    const auto enough = [&] {
      return lanes_ > 1 && left % lanes_ == 0 && (used_ >= lanes_ - 1 || size - left >= limit);
    };
    while (left > 0 && !enough()) {
      if (left == block_begin_) find(left, kTailBlock);
      put_symbol(0, --left);
    }
    return left;
  }

  /// The words that lane 0 moved out first become the other lanes' first states.
  void retire() {
    const std::size_t taken = std::min<std::size_t>(used_, lanes_ - 1);
    for (std::size_t j = 1; j <= taken; ++j) states_[j] = kLowerBound + words_[taken - j];
    std::copy(words_.begin() + static_cast<std::ptrdiff_t>(taken),
              words_.begin() + static_cast<std::ptrdiff_t>(used_), words_.begin());
    used_ -= taken;
  }

  /// Encodes the last groups before symbol `left`; returns where they begin.
  std::size_t encode_head_block(std::size_t left) {
    find(left, kBlock);
    const auto kernel = kernels_->of(lanes_).encode;
    while (left > block_begin_) {
      if (kernel != nullptr) {
        const std::size_t groups = (left - block_begin_) / lanes_;
        std::uint16_t* to = room(groups * lanes_ + kMaxLanes);
        left -= lanes_ * kernel(states_.data(), intervals_.data(), groups, to);
        used_ = static_cast<std::size_t>(to - words_.data());
        if (left == block_begin_) break;
      }
      for (unsigned lane = lanes_; lane-- > 0;) put_symbol(lane, --left);
    }
    return left;
  }

  void find(std::size_t end, std::size_t most) {
    block_begin_ = end - std::min(end, most);
    part_->find(*tables_, *kernels_, block_begin_, end, intervals_.data());
  }

  void put_symbol(unsigned lane, std::size_t i) {
    const std::uint32_t interval = intervals_[i - block_begin_];
    std::uint32_t state = states_[lane];
    std::uint16_t* to = room(kMostWords);
    if (CdfTables::is_escape(interval)) {
      const std::uint32_t code = part_->escape_code(*tables_, i);
      const std::uint32_t digits = ans::digits_of(code);
      for (std::uint32_t j = digits; j-- > 0;) {
        put_bits(state, (code >> (j * ans::kDigitBits)) & 0xf, ans::kDigitBits, to);
      }
      put_bits(state, digits, ans::kDigitBits, to);
    }
    const CdfTables::Interval owner = CdfTables::unpacked(interval);
    put(state, owner.start, owner.freq, to);
    states_[lane] = state;
    used_ = static_cast<std::size_t>(to - words_.data());
  }

  /// What the decoder takes first: the lanes' states from lane 0, and lane 0's own.
  void fold() {
    std::uint32_t& first = states_[0];
    std::uint16_t* to = room(3 * kMaxLanes + 2);
    for (unsigned j = lanes_; j-- > 1;) {
      unsigned extra = 0;
      while (states_[j] >> extra >= 2 * kLowerBound) ++extra;
      put_bits(first, states_[j] & ((1u << extra) - 1), extra, to);
      put_bits(first, (states_[j] >> extra) - kLowerBound, 16, to);
      put_bits(first, extra, 4, to);
    }
    *to++ = static_cast<std::uint16_t>(first >> 16);
    *to++ = static_cast<std::uint16_t>(first);
    used_ = static_cast<std::size_t>(to - words_.data());
  }

  void reverse() {
    bytes_.resize(2 * used_);
    char* to = bytes_.data();
    for (std::size_t i = used_; i-- > 0; to += 2) {
      to[0] = static_cast<char>(words_[i] & 0xff);
      to[1] = static_cast<char>(words_[i] >> 8);
    }
  }

  /// Where the next words go; there is room for `count`.
  std::uint16_t* room(std::size_t count) {
    if (words_.size() < used_ + count) words_.resize(std::max(used_ + count, 2 * words_.size()));
    return words_.data() + used_;
  }

  const Part* part_ = nullptr;
  const CdfTables* tables_ = nullptr;
  const Kernels* kernels_ = nullptr;
  unsigned lanes_ = 1;
  std::uint32_t groups_ = 0;
  std::array<std::uint32_t, kMaxLanes> states_{};
  std::size_t block_begin_ = 0;  // of the symbols whose intervals are known
  std::array<std::uint32_t, kBlock> intervals_{};
  std::vector<std::uint16_t> words_;  // in the order of encoding
  std::size_t used_ = 0;
  std::string bytes_;
};

/// The form of a stream; 0 where it follows from the message.
struct Shape {
  unsigned lanes = 0;
  unsigned substreams = 0;
};

/// About how many bytes a message takes, from some thousand of its symbols. Integers only: the
/// stream's shape, and so its bytes, must not depend on a machine's logarithm.
inline std::size_t estimated_bytes(const Message& message, const CdfTables& tables) {
  constexpr std::size_t kSamples = 2048;
  constexpr std::uint64_t kEscapeBits = 20;
  std::size_t size = 0;
  for (const Step& step : message) size += step.size;
  const std::size_t stride = size / kSamples + 1;
  std::uint64_t bits = 0;  // in sixteenths
  for (const Step& step : message) {
    for (std::size_t i = 0; i < step.size; i += stride) {
      std::visit(
          [&](const auto* symbols, const auto* indexes) {
            const CdfTables::Row& row = ans::checked_row(tables, indexes[i], i);
            const std::int64_t value = std::int64_t{symbols[i]} - row.offset;
            const bool inside = value >= 0 && value < row.escape;
            const std::uint32_t freq =
                tables.interval(row, inside ? static_cast<std::uint32_t>(value) : row.escape).freq;
            unsigned whole = 0;
            while (freq >> whole > 1) ++whole;
            // The logarithm of the frequency, linear between powers of two.
            const std::uint64_t log = 16 * whole + ((std::uint64_t{freq} << 4 >> whole) & 15);
            bits += 256 - log + (inside ? 0 : 16 * kEscapeBits);
          },
          step.symbols, step.indexes);
    }
  }
  return bits * stride / 128;
}

/// A stream's lanes and substreams where they are not given: as many as cost little of its size.
inline Shape shape_for(const Message& message, const CdfTables& tables, Shape wanted) {
  // A substream costs about 21 bytes with 32 lanes, 13 with 16, 7 with 4 and 5 with one. With 16 it
  // takes about 1.5 times as long to decode, with fewer, which no vector can hold, 4 times.
  constexpr std::size_t kSubstreamBytes = 24576, kMostSubstreams = 16;
  constexpr std::size_t kFor32 = 24576, kFor16 = 1024, kFor4 = 192;
  if (wanted.lanes != 0 && wanted.substreams != 0) return wanted;
  const std::size_t bytes = estimated_bytes(message, tables);
  if (wanted.substreams == 0) {
    wanted.substreams =
        static_cast<unsigned>(std::clamp<std::size_t>(bytes / kSubstreamBytes, 1, kMostSubstreams));
  }
  if (wanted.lanes == 0) {
    const std::size_t each = bytes / wanted.substreams;
    wanted.lanes = each >= kFor32 ? 32 : each >= kFor16 ? 16 : each >= kFor4 ? 4 : 1;
  }
  return wanted;
}

/// Encodes messages. The streams depend on the shape alone, not on threads or kernels.
class Encoder {
 public:
  Encoder(const Kernels& kernels, Shape shape) : kernels_(kernels), shape_(shape) {}

  /// One stream for each message. Throws std::out_of_range for an index that names no table and
  /// std::overflow_error for a symbol too far outside its table.
  std::vector<std::string> encode(const std::vector<Message>& messages, const CdfTables& tables,
                                  unsigned threads) {
    struct Job {
      std::size_t message;
      Part part;
      unsigned lanes;
    };
    std::vector<Job> jobs;
    std::size_t symbols = 0;
    for (std::size_t m = 0; m < messages.size(); ++m) {
      const Shape shape = shape_for(messages[m], tables, shape_);
      for (unsigned k = 0; k < shape.substreams; ++k) {
        jobs.push_back({m, Part(messages[m], k, shape.substreams), shape.lanes});
        symbols += jobs.back().part.size();
      }
    }
    if (symbols < kWorthThreads) threads = 1;
    if (encoders_.size() < jobs.size()) encoders_.resize(jobs.size());
    cpu::ThreadPool::instance().run(jobs.size(), threads, [&](std::size_t j) {
      encoders_[j].encode(jobs[j].part, tables, kernels_, jobs[j].lanes);
    });

    std::vector<std::string> streams;
    for (std::size_t j = 0; j < jobs.size();) {
      const std::size_t first = j;
      Header header;
      header.lanes = jobs[first].lanes;
      std::size_t words = 0;
      for (; j < jobs.size() && jobs[j].message == jobs[first].message; ++j) {
        header.groups.push_back(encoders_[j].groups());
        header.words.push_back(encoders_[j].words());
        words += encoders_[j].words();
      }
      std::string& bytes = streams.emplace_back(write_header(header));
      bytes.reserve(bytes.size() + 2 * words);
      for (std::size_t k = first; k < j; ++k) bytes += encoders_[k].bytes();
    }
    return streams;
  }

 private:
  static constexpr std::size_t kWorthThreads = 32768;

  const Kernels& kernels_;
  Shape shape_;
  std::vector<SubstreamEncoder> encoders_;
};

}  // namespace lic_fast::rans
