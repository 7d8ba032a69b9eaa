// What follows the escape of a symbol outside its CDF table: the symbol as raw digits.
//
// With v = symbol - offset, and m intervals before the escape:
//   0 <= v < m  is interval v;
//   otherwise   the escape, the number of digits of u, then the digits of u, the lowest first,
//               where u = 2 (v - m) for v >= m and u = -2 v - 1 for v < 0.
// A digit is 4 raw bits. The number is itself a digit: 15 would mean that more follows, but no
// u below 2^31 has more than 8 digits. compressai decodes u into a signed 32-bit integer, so u
// stays below 2^31 here: v lies in [-2^30, m + 2^30).
//
// The decoder refuses what the encoder would not write, such as a highest digit of 0: a stream
// that it accepts and uses up is the only one for its symbols.

#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include "ans/error.hpp"
#include "ans/tables.hpp"

namespace lic_fast::ans {

inline constexpr unsigned kDigitBits = 4;
inline constexpr std::uint32_t kMaxDigits = 8;
inline constexpr std::int64_t kMaxEscape = std::numeric_limits<std::int32_t>::max();

/// u of a symbol outside its table. `position` is the symbol's number in its call, for the
/// message; throws std::overflow_error for a symbol too far outside.
inline std::uint32_t escape_code(std::int64_t symbol, const CdfTables::Row& row,
                                 std::size_t position) {
  const std::int64_t value = symbol - row.offset;
  const std::int64_t code = value < 0 ? -2 * value - 1 : 2 * (value - row.escape);
  if (code > kMaxEscape) {
    throw std::overflow_error(
        "symbols[" + std::to_string(position) + "] is " + std::to_string(symbol) +
        ", too far outside its CDF table to be coded: the table begins at " +
        std::to_string(row.offset) + " and has " + std::to_string(row.escape) + " symbols");
  }
  return static_cast<std::uint32_t>(code);
}

/// How many digits u has.
inline std::uint32_t digits_of(std::uint32_t code) {
  std::uint32_t digits = 0;
  while (digits < kMaxDigits && code >> (digits * kDigitBits) != 0) ++digits;
  return digits;
}

/// The symbol whose digits get_digit() returns one after another. Throws StreamError for digits
/// that no encoder writes.
template <class GetDigit>
std::int32_t read_escape(GetDigit&& get_digit, const CdfTables::Row& row, std::size_t position) {
  const std::uint32_t digits = get_digit();
  std::int64_t code = 0;
  std::uint32_t highest = 1;
  for (std::uint32_t j = 0; j < digits && digits <= kMaxDigits; ++j) {
    highest = get_digit();
    code |= std::int64_t{highest} << (j * kDigitBits);
  }
  const std::int64_t half = code >> 1;
  const std::int64_t value = code & 1 ? -half - 1 : half + row.escape;
  const std::int64_t symbol = value + row.offset;
  if (digits > kMaxDigits || highest == 0 || code > kMaxEscape ||
      symbol < std::numeric_limits<std::int32_t>::min() ||
      symbol > std::numeric_limits<std::int32_t>::max()) {
    throw StreamError("the stream gives symbol " + std::to_string(position) +
                      " of this call a value that no encoder writes");
  }
  return static_cast<std::int32_t>(symbol);
}

}  // namespace lic_fast::ans
