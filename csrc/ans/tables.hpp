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
///
/// A row's 2^16 slots are divided into buckets of equal size. A bucket that at most two intervals
/// share names both, so that one load and one comparison find a slot's interval; a crowded
/// one, which is rare, has a list with the interval of each of its slots.
class CdfTables {
 public:
  struct Row {
    std::size_t first = 0;     // of the row's intervals
    std::uint32_t escape = 0;  // the interval that stands for all other symbols
    std::int32_t offset = 0;
  };

  /// The part of the slots that a symbol owns.
  struct Interval {
    std::uint32_t start;
    std::uint32_t freq;
  };

  /// An interval and its number in its row.
  struct Found {
    std::uint32_t s;
    std::uint32_t start;
    std::uint32_t freq;
  };

  /// The arrays, for code that works on several symbols at once. Arrays with an element for
  /// each row go on to the next multiple of 64.
  struct View {
    std::uint32_t rows;
    const std::uint64_t* buckets;
    const std::uint16_t* crowded;
    const std::uint32_t* intervals;
    const std::uint32_t* bucket_word;  // of a row: its first bucket + (bits of a slot << 27)
    const std::uint64_t* row_words;    // of a row: its bucket word + (its offset << 32)
    const std::uint32_t* first;        // of a row: its first interval
    const std::uint32_t* escape;
    const std::int32_t* offset;
  };

  // An interval in 32 bits: its first slot, and its last one << 16.
  static constexpr std::uint32_t packed(std::uint32_t start, std::uint32_t end) {
    return start | (end - 1) << 16;
  }
  static constexpr Interval unpacked(std::uint32_t interval) {
    return {interval & 0xffff, (interval >> 16) + 1 - (interval & 0xffff)};
  }
  /// The last slot belongs to the escape, which is every row's last interval.
  static constexpr bool is_escape(std::uint32_t interval) { return interval >> 16 == 0xffff; }

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
    finish();
  }

  std::size_t size() const { return rows_.size(); }
  const Row& row(std::size_t i) const { return rows_[i]; }

  /// The entries of a row, escape + 2 of them.
  std::vector<std::int32_t> entries(const Row& row) const {
    std::vector<std::int32_t> all;
    for (std::uint32_t s = 0; s <= row.escape; ++s) {
      all.push_back(static_cast<std::int32_t>(interval(row, s).start));
    }
    all.push_back(kCdfTotal);
    return all;
  }

  /// Whether all symbols that have an interval fit 16 bits.
  bool fit_int16() const { return fit_int16_; }

  /// Requires s <= row.escape.
  Interval interval(const Row& row, std::uint32_t s) const {
    return unpacked(intervals_[row.first + s]);
  }

  /// The interval that owns a slot of row i. Requires slot < 2^16.
  Found find(std::size_t i, std::uint32_t slot) const {
    const std::uint32_t word = bucket_words_[i];
    const unsigned shift = word >> kShiftPosition;
    const std::uint64_t bucket = buckets_[(word & kBucketMask) + (slot >> shift)];
    const auto low = static_cast<std::uint32_t>(bucket);
    const auto high = static_cast<std::uint32_t>(bucket >> 32);
    if (low == kCrowded) {
      const std::uint32_t s = crowded_[high + (slot & ((1u << shift) - 1))];
      const Interval owner = unpacked(intervals_[rows_[i].first + s]);
      return {s, owner.start, owner.freq};
    }
    // Without branches, which could not be foreseen.
    const std::uint32_t last = low >> 16;
    const bool second = slot > last;
    const std::uint32_t start = second ? last + 1 : low & 0xffff;
    const std::uint32_t end = (second ? high >> 16 : last) + 1;
    return {(high & 0xffff) + second, start, end - start};
  }

  View view() const {
    return {static_cast<std::uint32_t>(rows_.size()),
            buckets_.data(),
            crowded_.data(),
            intervals_.data(),
            bucket_words_.data(),
            row_words_.data(),
            firsts_.data(),
            escapes_.data(),
            offsets_.data()};
  }

  // A bucket: first slot and last slot << 16 of the interval that owns its first slot, the
  // interval's number << 32, and the last slot of the next interval << 48. A crowded bucket:
  // kCrowded, which is no interval, and the place of its list << 32.
  static constexpr std::uint32_t kCrowded = 1;
  static constexpr unsigned kShiftPosition = 27;
  static constexpr std::uint32_t kBucketMask = (1u << kShiftPosition) - 1;

 private:
  // A row has the fewest buckets that leave at most one slot in kFewCrowded in a crowded one:
  // beyond that, larger tables cost more in cache misses than they save.
  // (benchmarks/results/rans-analysis.md has figures.)
  static constexpr unsigned kMinBucketBits = 8;
  static constexpr unsigned kMaxBucketBits = 12;
  static constexpr std::size_t kFewCrowded = 256;

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
    row.first = intervals_.size();
    row.escape = static_cast<std::uint32_t>(cdf.size - 2);
    row.offset = offset;
    for (std::size_t s = 0; s + 1 < cdf.size; ++s) {
      intervals_.push_back(packed(entry(cdf, s), entry(cdf, s + 1)));
    }
    unsigned bits = kMinBucketBits;
    while (bits < kMaxBucketBits && crowded_slots(cdf, bits) * kFewCrowded > kCdfTotal) ++bits;
    append_buckets(cdf, bits);
    rows_.push_back(row);
  }

  static std::uint32_t entry(Span<std::int32_t> cdf, std::size_t s) {
    return static_cast<std::uint32_t>(cdf.data[s]);
  }

  /// Slots in buckets that more than two intervals share, of 2^bits buckets.
  static std::size_t crowded_slots(Span<std::int32_t> cdf, unsigned bits) {
    const unsigned shift = kCdfPrecision - bits;
    std::size_t buckets = 0;
    std::uint32_t current = 0, starts = 0;  // of intervals inside the bucket, not at its edge
    for (std::size_t s = 1; s + 1 < cdf.size; ++s) {
      const std::uint32_t start = entry(cdf, s);
      if ((start & ((1u << shift) - 1)) == 0) continue;
      if (start >> shift != current) starts = 0;
      current = start >> shift;
      if (++starts == 2) ++buckets;
    }
    return buckets << shift;
  }

  void append_buckets(Span<std::int32_t> cdf, unsigned bits) {
    const unsigned shift = kCdfPrecision - bits;
    if (buckets_.size() > kBucketMask) throw std::invalid_argument("there are too many CDF tables");
    bucket_words_.push_back(static_cast<std::uint32_t>(buckets_.size()) | shift << kShiftPosition);
    const std::size_t intervals = cdf.size - 1;
    std::uint32_t s = 0;
    for (std::uint32_t slot = 0; slot < static_cast<std::uint32_t>(kCdfTotal);) {
      const std::uint32_t end = slot + (1u << shift);
      while (entry(cdf, s + 1) <= slot) ++s;
      if (s + 2 < cdf.size && entry(cdf, s + 2) < end) {
        buckets_.push_back(kCrowded | static_cast<std::uint64_t>(crowded_.size()) << 32);
        for (; slot < end; ++slot) {
          while (entry(cdf, s + 1) <= slot) ++s;
          crowded_.push_back(static_cast<std::uint16_t>(s));
        }
      } else {
        const std::uint32_t next_end = entry(cdf, s + 1 < intervals ? s + 2 : s + 1);
        buckets_.push_back(packed(entry(cdf, s), entry(cdf, s + 1)) |
                           static_cast<std::uint64_t>(s) << 32 |
                           static_cast<std::uint64_t>(next_end - 1) << 48);
        slot = end;
      }
    }
  }

  /// What the View promises; and gathers of 32 bits may read two bytes beyond the crowded lists.
  void finish() {
    if (intervals_.size() > kBucketMask || crowded_.size() >= std::size_t{1} << 31) {
      throw std::invalid_argument("the CDF tables are too large");
    }
    const std::size_t padded = (rows_.size() + 63) / 64 * 64;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const Row& row = rows_[i];
      const auto offset = static_cast<std::uint32_t>(row.offset);
      row_words_.push_back(bucket_words_[i] | static_cast<std::uint64_t>(offset) << 32);
      if (row.escape != 0) {
        fit_int16_ =
            fit_int16_ && row.offset >= std::numeric_limits<std::int16_t>::min() &&
            std::int64_t{row.offset} + row.escape - 1 <= std::numeric_limits<std::int16_t>::max();
      }
      firsts_.push_back(static_cast<std::uint32_t>(row.first));
      escapes_.push_back(row.escape);
      offsets_.push_back(row.offset);
    }
    bucket_words_.resize(padded);
    firsts_.resize(padded);
    escapes_.resize(padded);
    offsets_.resize(padded);
    crowded_.push_back(0);
  }

  std::vector<Row> rows_;
  std::vector<std::uint32_t> intervals_;
  std::vector<std::uint64_t> buckets_;
  std::vector<std::uint16_t> crowded_;
  std::vector<std::uint32_t> bucket_words_, firsts_, escapes_;
  std::vector<std::uint64_t> row_words_;
  bool fit_int16_ = true;
  std::vector<std::int32_t> offsets_;
};

}  // namespace lic_fast::ans
