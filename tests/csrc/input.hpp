// What fuzzing takes out of its input: numbers, tables, indexes, symbols.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ans/tables.hpp"

namespace lic_fast::fuzz {

using ans::CdfTables;
using ans::Span;

/// Takes values off the input; zeros after its end.
class Reader {
 public:
  Reader(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  template <class T>
  T take() {
    T value{};
    const std::size_t count = size_ < sizeof(T) ? size_ : sizeof(T);
    if (count != 0) std::memcpy(&value, data_, count);
    data_ += count;
    size_ -= count;
    return value;
  }

  std::string rest() const { return std::string(reinterpret_cast<const char*>(data_), size_); }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

/// The arguments of CdfTables. Each row is memory of its own, of just its length.
struct RawTables {
  std::vector<std::vector<std::int32_t>> cdfs;
  std::vector<std::int32_t> sizes;
  std::vector<std::int32_t> offsets;
};

/// Mostly good tables.
inline RawTables take_tables(Reader& reader) {
  RawTables raw;
  const unsigned count = reader.take<std::uint8_t>() % 5;
  for (unsigned i = 0; i < count; ++i) {
    const unsigned damage = reader.take<std::uint8_t>() % 64;
    const unsigned layout = reader.take<std::uint8_t>();
    std::vector<std::int32_t> cdf{0};
    const unsigned entries = reader.take<std::uint8_t>() % 40;
    const int step = (layout & 1) != 0 ? 9 : 3000;
    for (unsigned j = 0; j < entries; ++j) {
      cdf.push_back(cdf.back() + reader.take<std::uint16_t>() % step + 1);
    }
    while (damage != 2 && cdf.back() >= 65536) cdf.pop_back();
    // A small escape, so that a random stream is long in dying.
    if ((layout & 16) != 0 && cdf.back() < 65535) cdf.push_back(65535);
    if (damage == 1 && cdf.size() > 1) cdf.back() = cdf[cdf.size() - 2];
    cdf.push_back(damage == 3 ? reader.take<std::int32_t>() : 65536);
    auto size = static_cast<std::int32_t>(cdf.size());
    std::int32_t offset = reader.take<std::int8_t>();
    if ((layout & 6) == 2) offset = reader.take<std::int32_t>();
    if ((layout & 6) == 4) offset = std::numeric_limits<std::int32_t>::min() + (offset & 3);
    // The last symbol is about the largest integer there is.
    if ((layout & 6) == 6) {
      offset = std::numeric_limits<std::int32_t>::max() - size + std::min(size, offset & 7);
    }
    if ((layout & 8) != 0) cdf.resize(cdf.size() + 3, -1);
    if (damage == 4) size += reader.take<std::int8_t>();
    raw.cdfs.push_back(cdf);
    raw.sizes.push_back(size);
    raw.offsets.push_back(offset);
  }
  const unsigned damage = reader.take<std::uint8_t>() % 64;
  if (damage == 1) raw.sizes.push_back(2);
  if (damage == 2 && count != 0) raw.sizes.pop_back();
  if (damage == 3 && count != 0) raw.offsets.pop_back();
  if (damage == 4 && count != 0) raw.cdfs.pop_back();
  raw.sizes.shrink_to_fit();
  raw.offsets.shrink_to_fit();
  return raw;
}

inline std::optional<CdfTables> make_tables(const RawTables& raw) {
  std::vector<Span<std::int32_t>> rows;
  for (const auto& cdf : raw.cdfs) rows.push_back({cdf.data(), cdf.size()});
  try {
    return CdfTables(rows, {raw.sizes.data(), raw.sizes.size()},
                     {raw.offsets.data(), raw.offsets.size()});
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

inline std::vector<std::int16_t> take_indexes(Reader& reader, std::size_t tables) {
  std::vector<std::int16_t> indexes(reader.take<std::uint8_t>());
  const bool wild = reader.take<std::uint8_t>() % 16 == 15;
  for (std::int16_t& index : indexes) {
    index = wild ? reader.take<std::int16_t>()
                 : static_cast<std::int16_t>(reader.take<std::uint8_t>() % tables);
  }
  return indexes;
}

/// Any integer, or more often one in the table or near it.
inline std::int32_t take_symbol(Reader& reader, std::int16_t index, const CdfTables& tables) {
  const unsigned kind = reader.take<std::uint8_t>() % 8;
  if (kind == 0 || index < 0 || static_cast<std::size_t>(index) >= tables.size()) {
    return reader.take<std::int32_t>();
  }
  const std::int64_t value = kind == 1 ? reader.take<std::int16_t>() : reader.take<std::int8_t>();
  const std::int64_t symbol = value + tables.row(static_cast<std::size_t>(index)).offset;
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(
      symbol, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()));
}

}  // namespace lic_fast::fuzz
