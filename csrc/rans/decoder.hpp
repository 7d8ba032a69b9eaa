// Streams to symbols, one step after another.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
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

template <class Symbol>
Symbol checked_symbol(std::int32_t value, std::size_t position) {
  if (value < std::numeric_limits<Symbol>::min() || value > std::numeric_limits<Symbol>::max()) {
    throw std::overflow_error("symbol " + std::to_string(position) + " of this call is " +
                              std::to_string(value) + ", which does not fit the int16 of out");
  }
  return static_cast<Symbol>(value);
}

/// One substream. A copy is an independent reader at the same position.
class SubstreamDecoder {
 public:
  /// The words must live as long as the decoder, and kReadAhead more must be readable after them.
  /// `retired` has room for kMaxLanes - 1 words and lives as long too. Throws StreamError for
  /// words that begin with no possible states.
  SubstreamDecoder(const std::uint16_t* words, std::size_t count, unsigned lanes,
                   std::uint32_t groups, std::uint16_t* retired)
      : words_(words, words + count),
        retired_(retired),
        head_left_(std::uint64_t{groups} * lanes),
        lanes_(lanes) {
    std::uint32_t& first = states_[0];
    first = words_.read();
    first |= std::uint32_t{words_.read()} << 16;
    if (first < kLowerBound) throw StreamError("the stream does not begin with a possible state");
    for (unsigned j = 1; j < lanes_; ++j) {
      const unsigned extra = take_bits(first, 4, words_);
      const std::uint32_t high = kLowerBound + take_bits(first, 16, words_);
      states_[j] = high << extra | take_bits(first, extra, words_);
    }
    if (head_left_ == 0) begin_tail();
  }

  /// Decodes the next `count` symbols. `position` is the number of the first of them in the
  /// caller's call, for messages. Throws std::out_of_range, std::overflow_error and StreamError;
  /// then the decoder is of no more use.
  template <class Index, class Symbol>
  void decode(const CdfTables& tables, const Kernels& kernels, const Index* indexes,
              std::size_t count, Symbol* symbols, std::size_t position) {
    const auto kernel = sizeof(Symbol) > 2 || tables.fit_int16()
                            ? kernels.of(lanes_).decode<Index, Symbol>()
                            : nullptr;
    const CdfTables::View view = tables.view();
    std::size_t i = 0;
    const auto scalar = [&](std::size_t wanted) {
      const std::size_t n = std::min<std::uint64_t>(std::min(wanted, count - i), head_left_);
      decode_head(tables, indexes + i, n, symbols + i, position + i);
      i += n;
    };
    if (head_left_ != 0 && lane_ != 0) scalar(lanes_ - lane_);
    while (kernel != nullptr && head_left_ >= lanes_ && count - i >= lanes_) {
      const std::size_t groups = std::min<std::uint64_t>(count - i, head_left_) / lanes_;
      const std::size_t done =
          kernel(view, states_.data(), words_.next, words_.end, indexes + i, symbols + i, groups);
      if (words_.next > words_.end) throw StreamError("the stream is too short for its symbols");
      i += done * lanes_;
      head_left_ -= done * lanes_;
      if (done < groups) scalar(lanes_);
    }
    scalar(count);
    if (head_left_ == 0 && !in_tail_) begin_tail();
    if (i < count) decode_tail(tables, indexes + i, count - i, symbols + i, position + i);
  }

  /// Throws StreamError unless this is where the encoder began.
  void check_finished() const {
    if (head_left_ != 0) {
      throw StreamError("the stream holds more symbols than were decoded");
    }
    if (!words_.finished()) throw StreamError("the stream has more words than its symbols need");
    if (states_[0] != kLowerBound) {
      throw StreamError(
          "the stream does not end in the initial state: it is damaged, or was decoded with "
          "other tables or indexes");
    }
  }

 private:
  template <class Index, class Symbol>
  static void decode_one(std::uint32_t& state, Words& words, const CdfTables& tables, Index index,
                         Symbol* symbol, std::size_t position) {
    const CdfTables::Row& row = ans::checked_row(tables, index, position);
    const CdfTables::Found found = tables.find(static_cast<std::size_t>(index), state & 0xffff);
    take(state, found.start, found.freq, words);
    const std::int32_t value =
        found.s != row.escape
            ? row.offset + static_cast<std::int32_t>(found.s)
            : ans::read_escape([&] { return take_bits(state, ans::kDigitBits, words); }, row,
                               position);
    *symbol = checked_symbol<Symbol>(value, position);
  }

  template <class Index, class Symbol>
  void decode_head(const CdfTables& tables, const Index* indexes, std::size_t count,
                   Symbol* symbols, std::size_t position) {
    Words words = words_;
    unsigned lane = lane_;
    for (std::size_t i = 0; i < count; ++i) {
      decode_one(states_[lane], words, tables, indexes[i], symbols + i, position + i);
      lane = (lane + 1) & (lanes_ - 1);
    }
    words_ = words;
    lane_ = lane;
    head_left_ -= count;
  }

  template <class Index, class Symbol>
  void decode_tail(const CdfTables& tables, const Index* indexes, std::size_t count,
                   Symbol* symbols, std::size_t position) {
    Words words = words_;
    std::uint32_t state = states_[0];
    for (std::size_t i = 0; i < count; ++i) {
      decode_one(state, words, tables, indexes[i], symbols + i, position + i);
    }
    words_ = words;
    states_[0] = state;
  }

  void begin_tail() {
    for (unsigned j = 1; j < lanes_; ++j) {
      if (states_[j] >= 2 * kLowerBound) {
        throw StreamError(
            "a lane does not end where the encoder began it: the stream is damaged, or was "
            "decoded with other tables or indexes");
      }
      retired_[j - 1] = static_cast<std::uint16_t>(states_[j] - kLowerBound);
    }
    words_.then(retired_, retired_ + lanes_ - 1);
    in_tail_ = true;
  }

  std::array<std::uint32_t, kMaxLanes> states_{};
  Words words_;
  std::uint16_t* retired_;
  std::uint64_t head_left_;  // symbols
  unsigned lanes_;
  unsigned lane_ = 0;  // the next symbol's
  bool in_tail_ = false;
};

/// A whole stream.
class Decoder {
 public:
  explicit Decoder(const Kernels& kernels) : kernels_(kernels) {}

  /// Throws StreamError for bytes that cannot be a stream; then there is no stream.
  void start(const char* data, std::size_t size) {
    substreams_.clear();
    const Header header = HeaderReader(data, size).read();
    std::size_t total = 0;
    for (const std::size_t words : header.words) total += words;
    words_.assign(total + kReadAhead, 0);
    for (std::size_t i = 0; i < total; ++i) {
      const auto* bytes = reinterpret_cast<const unsigned char*>(data + header.size + 2 * i);
      words_[i] = static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8);
    }
    std::vector<SubstreamDecoder> substreams;
    retired_.assign(header.groups.size(), {});
    const std::uint16_t* next = words_.data();
    for (std::size_t k = 0; k < header.groups.size(); ++k) {
      substreams.emplace_back(next, header.words[k], header.lanes, header.groups[k],
                              retired_[k].data());
      next += header.words[k];
    }
    substreams_ = std::move(substreams);
  }

  bool started() const { return !substreams_.empty(); }

  /// Decodes a step of `count` symbols. Throws std::out_of_range for an index that names no
  /// table, std::overflow_error for a symbol that does not fit and StreamError for a stream that
  /// ends too early or is impossible; then the position is what it was, and `symbols` is partly
  /// written.
  template <class Index, class Symbol>
  void decode(const CdfTables& tables, const Index* indexes, std::size_t count, Symbol* symbols,
              unsigned threads) {
    const std::size_t size = substreams_.size();
    const std::vector<SubstreamDecoder> before = substreams_;
    if (count < kWorthThreads) threads = 1;
    try {
      cpu::ThreadPool::instance().run(size, threads, [&](std::size_t k) {
        const Share share(count, k, size);
        substreams_[k].decode(tables, kernels_, indexes + share.begin, share.size(),
                              symbols + share.begin, share.begin);
      });
    } catch (...) {
      substreams_ = before;
      throw;
    }
  }

  /// Throws StreamError unless all substreams are used up exactly.
  void check_finished() const {
    for (const SubstreamDecoder& substream : substreams_) substream.check_finished();
  }

 private:
  // Below about 20 microseconds of work, waking a thread takes longer than it saves.
  static constexpr std::size_t kWorthThreads = 32768;

  const Kernels& kernels_;
  std::vector<std::uint16_t> words_;
  std::vector<std::array<std::uint16_t, kMaxLanes>> retired_;
  std::vector<SubstreamDecoder> substreams_;
};

}  // namespace lic_fast::rans
