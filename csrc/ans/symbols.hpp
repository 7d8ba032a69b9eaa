// Symbols as compressai.ans codes them: by the quantised CDF that an index names, and by an
// escape with raw digits where a symbol lies outside its table.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "ans/error.hpp"
#include "ans/escape.hpp"
#include "ans/rans.hpp"
#include "ans/tables.hpp"

namespace lic_fast::ans {

/// `index` is a string, as Python's integers may be wider than any of C++.
[[noreturn]] inline void throw_bad_index(std::size_t position, const std::string& index,
                                         std::size_t tables) {
  throw std::out_of_range("indexes[" + std::to_string(position) + "] is " + index + "; there are " +
                          std::to_string(tables) + " CDF tables, 0 to " +
                          std::to_string(tables - 1));
}

/// The row that `index` names; throws std::out_of_range where there is none.
inline const CdfTables::Row& checked_row(const CdfTables& tables, std::int32_t index,
                                         std::size_t position) {
  if (index < 0 || static_cast<std::size_t>(index) >= tables.size()) {
    throw_bad_index(position, std::to_string(index), tables.size());
  }
  return tables.row(static_cast<std::size_t>(index));
}

/// Collects symbols in coding order, since rANS must put them in the opposite one.
class SymbolEncoder {
 public:
  /// Appends size symbols. Throws std::out_of_range for an index that names no table and
  /// std::overflow_error for a symbol too far outside its table; then none is appended.
  template <class Symbol, class Index>
  void append(const Symbol* symbols, const Index* indexes, std::size_t size,
              const CdfTables& tables) {
    const std::size_t before = pending_.size();
    try {
      // At least doubled, so that many small appends take linear time.
      if (pending_.capacity() < before + size) {
        pending_.reserve(std::max(before + size, 2 * pending_.capacity()));
      }
      for (std::size_t i = 0; i < size; ++i) {
        append_one(symbols[i], checked_row(tables, indexes[i], i), tables, i);
      }
    } catch (...) {
      pending_.resize(before);
      throw;
    }
  }

  /// The stream of all symbols appended since the last call.
  std::string flush() {
    RansEncoderCore<Rans64> coder;
    for (auto operation = pending_.rbegin(); operation != pending_.rend(); ++operation) {
      if (operation->is_digit()) {
        coder.put_bits(operation->digit(), kDigitBits);
      } else {
        coder.put(operation->start(), operation->freq());
      }
    }
    std::string stream = coder.finish();
    pending_.clear();
    return stream;
  }

 private:
  // Half of the bits are start, half freq - 1. A frequency of 2^16 leaves 0 as the only start,
  // so that the others, under that frequency, are free to mean digits.
  class Operation {
   public:
    Operation() = default;
    static Operation symbol(CdfTables::Interval interval) {
      return Operation(interval.start << 16 | (interval.freq - 1));
    }
    static Operation digit(std::uint32_t digit) { return Operation((digit + 1) << 16 | 0xffff); }

    bool is_digit() const { return (bits_ & 0xffff) == 0xffff && bits_ >> 16 != 0; }
    std::uint32_t digit() const { return (bits_ >> 16) - 1; }
    std::uint32_t start() const { return bits_ >> 16; }
    std::uint32_t freq() const { return (bits_ & 0xffff) + 1; }

   private:
    explicit Operation(std::uint32_t bits) : bits_(bits) {}
    std::uint32_t bits_ = 0;
  };

  void append_one(std::int32_t symbol, const CdfTables::Row& row, const CdfTables& tables,
                  std::size_t position) {
    const std::int64_t value = std::int64_t{symbol} - row.offset;
    if (value >= 0 && value < row.escape) {
      const auto s = static_cast<std::uint32_t>(value);
      pending_.push_back(Operation::symbol(tables.interval(row, s)));
      return;
    }
    const std::uint32_t code = escape_code(symbol, row, position);
    const std::uint32_t digits = digits_of(code);
    pending_.push_back(Operation::symbol(tables.interval(row, row.escape)));
    pending_.push_back(Operation::digit(digits));
    for (std::uint32_t j = 0; j < digits; ++j) {
      pending_.push_back(Operation::digit((code >> (j * kDigitBits)) & 0xf));
    }
  }

  std::vector<Operation> pending_;
};

/// Takes symbols out of a stream that it does not own. A copy is an independent reader.
class SymbolDecoder {
 public:
  /// Throws StreamError for bytes that cannot be a stream.
  SymbolDecoder(const char* data, std::size_t size) : coder_(data, size) {}

  /// Decodes size symbols into out. Throws std::out_of_range for an index that names no table
  /// and StreamError for a stream that ends too early or holds an impossible escape; then the
  /// position stays where it was, and out is partly written.
  template <class Index>
  void decode(const Index* indexes, std::size_t size, const CdfTables& tables, std::int32_t* out) {
    RansDecoderCore<Rans64> coder = coder_;
    for (std::size_t i = 0; i < size; ++i) {
      const CdfTables::Row& row = checked_row(tables, indexes[i], i);
      const CdfTables::Found found =
          tables.find(static_cast<std::size_t>(indexes[i]), coder.slot());
      coder.advance(found.start, found.freq);
      if (found.s != row.escape) {
        out[i] = row.offset + static_cast<std::int32_t>(found.s);
      } else {
        out[i] = read_escape([&coder] { return coder.get_bits(kDigitBits); }, row, i);
      }
    }
    coder_ = coder;
  }

  /// Throws StreamError unless the stream is used up exactly.
  void check_finished() const { coder_.check_finished(); }

 private:
  RansDecoderCore<Rans64> coder_;
};

}  // namespace lic_fast::ans
