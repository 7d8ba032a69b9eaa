// From a scale to the index of its CDF, without a comparison for each entry of the table.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/isa.hpp"

namespace lic_fast::latents {

LIC_FAST_INLINE std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// The number of thresholds below a scale, when these are positive, finite and far enough apart.
///
/// The bits of positive floats, read as an integer, ascend with the float. Their upper bits name a
/// bucket that holds one threshold at most. Of a scale in a bucket that begins at `base`, with
/// `start` thresholds before it and one at base + t, the index is start + (bits - base > t): the
/// carry out of the low bits, when 2^shift - 1 - t is added to bits - base. So
///
///     index = (bits - origin + entries[(bits - origin) >> shift]) >> shift
///
/// where an entry is (start << shift) + 2^shift - 1 - t - (base - origin), modulo 2^32.
struct Buckets {
  /// Vectors of 16 hold this many in registers.
  static constexpr std::size_t kMinEntries = 128;

  float low = 0, high = 0;   // scales are clamped to these, a NaN to the latter
  std::uint32_t origin = 0;  // the bits of `low`
  unsigned shift = 0;
  std::vector<std::uint32_t> entries;  // with zeros up to kMinEntries
};

/// The ascending standard deviations of the CDFs.
class ScaleTable {
 public:
  /// Throws std::invalid_argument if there is none, more than 256, or one below that before it.
  ScaleTable(const float* scales, std::size_t count) {
    if (count < 1 || count > kMaxEntries) {
      throw std::invalid_argument("a scale table holds 1 to 256 entries, not " +
                                  std::to_string(count));
    }
    for (std::size_t i = 1; i < count; ++i) {
      if (!(scales[i - 1] <= scales[i])) throw std::invalid_argument("a scale table must ascend");
    }
    thresholds_.assign(scales, scales + count - 1);
    for (float& threshold : thresholds_) threshold += 0.0f;  // -0 becomes 0
    fill_buckets();
  }

  /// Null if the thresholds are not of the kind that Buckets takes.
  const Buckets* buckets() const { return buckets_.entries.empty() ? nullptr : &buckets_; }

  /// The definition: the number of entries, the last left out, that are below the scale. A NaN is
  /// above all.
  std::uint8_t index(float scale) const {
    const auto below = std::lower_bound(thresholds_.begin(), thresholds_.end(), scale,
                                        [](float entry, float x) { return !(entry >= x); });
    return static_cast<std::uint8_t>(below - thresholds_.begin());
  }

 private:
  static constexpr std::size_t kMaxEntries = 256;
  static constexpr std::size_t kMaxBuckets = 4096;
  static constexpr unsigned kMaxShift = 23;  // a bucket then is an octave, and infinity begins one

  void fill_buckets() {
    if (thresholds_.empty() || !(thresholds_.front() >= 0) || !std::isfinite(thresholds_.back())) {
      return;
    }
    unsigned shift = kMaxShift;
    for (std::size_t i = 1; i < thresholds_.size(); ++i) {
      const std::uint32_t difference = bits_of(thresholds_[i - 1]) ^ bits_of(thresholds_[i]);
      if (difference == 0) return;
      while (difference >> shift == 0) --shift;
    }
    const std::uint32_t first = bits_of(thresholds_.front()) >> shift;
    const std::uint32_t last = (bits_of(thresholds_.back()) >> shift) + 1;
    if (last - first >= kMaxBuckets) return;

    buckets_.origin = first << shift;
    buckets_.low = float_of(first << shift);
    buckets_.high = float_of(last << shift);
    buckets_.shift = shift;
    buckets_.entries.resize(std::max<std::size_t>(last - first + 1, Buckets::kMinEntries));
    std::uint32_t start = 0;
    for (std::uint32_t bucket = first; bucket <= last; ++bucket) {
      std::uint32_t entry = (start << shift) - ((bucket - first) << shift);
      if (start < thresholds_.size() && bits_of(thresholds_[start]) >> shift == bucket) {
        const std::uint32_t mask = (1u << shift) - 1;
        entry += mask - (bits_of(thresholds_[start]) & mask);
        ++start;
      }
      buckets_.entries[bucket - first] = entry;
    }
  }

  std::vector<float> thresholds_;
  Buckets buckets_;
};

}  // namespace lic_fast::latents
