// Quantised CDFs, checked once and laid out for coding.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace lic_fast::ans {

/// Integers that somebody else owns.
template <class T>
struct Span {
  const T* data = nullptr;
  std::size_t size = 0;
};

inline constexpr unsigned kCdfPrecision = 16;
inline constexpr std::int32_t kCdfTotal = std::int32_t{1} << kCdfPrecision;

/// A set of quantised CDFs.
///
/// Row r has sizes[r] entries, which rise strictly from 0 to 2^16. Its last interval is the
/// escape; interval s before it is the symbol offsets[r] + s, which must fit 32 bits.
class CdfTables {
 public:
  struct Row {
    std::size_t first = 0;         // of the row's entries in starts_
    std::size_t first_bucket = 0;  // of the row's buckets in buckets_
    std::uint32_t escape = 0;      // the interval that stands for all other symbols
    std::int32_t offset = 0;
    unsigned shift = 0;  // a bucket is 2^shift slots
  };

  /// The part of the slots that a symbol owns.
  struct Interval {
    std::uint32_t start;
    std::uint32_t freq;
  };

  /// Throws std::invalid_argument naming the first table that is wrong. Entries of a row beyond
  /// its size are ignored.
  CdfTables(const std::vector<Span<std::int32_t>>& cdfs, Span<std::int32_t> sizes,
            Span<std::int32_t> offsets) {
    if (cdfs.empty()) throw std::invalid_argument("there are no CDF tables");
    if (sizes.size != cdfs.size() || offsets.size != cdfs.size()) {
      throw std::invalid_argument("cdfs has " + std::to_string(cdfs.size()) +
                                  " tables, cdfs_sizes " + std::to_string(sizes.size) +
                                  " and offsets " + std::to_string(offsets.size) +
                                  " entries; they must be as many");
    }
    rows_.reserve(cdfs.size());
    for (std::size_t i = 0; i < cdfs.size(); ++i) {
      append(check(i, cdfs[i], sizes.data[i], offsets.data[i]), offsets.data[i]);
    }
  }

  std::size_t size() const { return rows_.size(); }
  const Row& row(std::size_t i) const { return rows_[i]; }

  /// The entries of a row, escape + 2 of them.
  Span<std::uint32_t> entries(const Row& row) const {
    return {starts_.data() + row.first, std::size_t{row.escape} + 2};
  }

  /// Requires s <= row.escape.
  Interval interval(const Row& row, std::uint32_t s) const {
    const std::uint32_t* starts = starts_.data() + row.first;
    return {starts[s], starts[s + 1] - starts[s]};
  }

  /// The interval s with starts[s] <= slot < starts[s + 1]. Requires slot < 2^16.
  std::uint32_t find(const Row& row, std::uint32_t slot) const {
    const std::uint32_t* starts = starts_.data() + row.first;
    std::uint32_t s = buckets_[row.first_bucket + (slot >> row.shift)];
    while (starts[s + 1] <= slot) ++s;
    return s;
  }

 private:
  // About two buckets for each symbol leave find() at most a few steps, as long as symbols are
  // not crowded; the bounds keep it short for those that are, and the tables in the cache.
  static constexpr unsigned kMinBucketBits = 6;
  static constexpr unsigned kMaxBucketBits = 12;

  static Span<std::int32_t> check(std::size_t i, Span<std::int32_t> cdf, std::int32_t size,
                                  std::int32_t offset) {
    const std::string name = "cdfs[" + std::to_string(i) + "]";
    if (size < 2 || static_cast<std::size_t>(size) > cdf.size) {
      throw std::invalid_argument("cdfs_sizes[" + std::to_string(i) + "] is " +
                                  std::to_string(size) + "; " + name + " has " +
                                  std::to_string(cdf.size) + " entries, and a CDF at least 2");
    }
    const auto length = static_cast<std::size_t>(size);
    if (cdf.data[0] != 0 || cdf.data[length - 1] != kCdfTotal) {
      throw std::invalid_argument(name + " goes from " + std::to_string(cdf.data[0]) + " to " +
                                  std::to_string(cdf.data[length - 1]) +
                                  "; a CDF goes from 0 to 65536");
    }
    for (std::size_t j = 1; j < length; ++j) {
      if (cdf.data[j] <= cdf.data[j - 1]) {
        throw std::invalid_argument(name + " does not rise at entry " + std::to_string(j) + ": " +
                                    std::to_string(cdf.data[j - 1]) + ", " +
                                    std::to_string(cdf.data[j]));
      }
    }
    if (std::int64_t{offset} + size - 3 > std::numeric_limits<std::int32_t>::max()) {
      throw std::invalid_argument("offsets[" + std::to_string(i) + "] is " +
                                  std::to_string(offset) + "; the table's " +
                                  std::to_string(size - 2) + " symbols would not all fit 32 bits");
    }
    return {cdf.data, length};
  }

  void append(Span<std::int32_t> cdf, std::int32_t offset) {
    Row row;
    row.first = starts_.size();
    row.first_bucket = buckets_.size();
    row.escape = static_cast<std::uint32_t>(cdf.size - 2);
    row.offset = offset;
    unsigned bucket_bits = kMinBucketBits;
    while (bucket_bits < kMaxBucketBits && (std::size_t{1} << bucket_bits) < 2 * cdf.size) {
      ++bucket_bits;
    }
    row.shift = kCdfPrecision - bucket_bits;
    starts_.insert(starts_.end(), cdf.data, cdf.data + cdf.size);
    std::uint32_t s = 0;
    for (std::uint32_t bucket = 0; bucket < (1u << bucket_bits); ++bucket) {
      while (static_cast<std::uint32_t>(cdf.data[s + 1]) <= bucket << row.shift) ++s;
      buckets_.push_back(static_cast<std::uint16_t>(s));
    }
    rows_.push_back(row);
  }

  std::vector<Row> rows_;
  std::vector<std::uint32_t> starts_;
  std::vector<std::uint16_t> buckets_;  // the interval of each bucket's first slot
};

}  // namespace lic_fast::ans
