// The index of a scale: how many entries of the scale table, the last left out, are below it.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace lic_fast::latents {

/// Finds an index in two or three steps instead of a comparison with each entry: a float's exponent
/// and highest bits of its mantissa name a bucket, the bucket the first index that its floats can
/// have, and a comparison with each entry inside the bucket does the rest.
class ScaleSearch {
 public:
  // Two bits of the mantissa: four buckets for each power of two. The usual table, 64 entries from
  // 0.11 to 256, has 46 buckets with at most two entries in one.
  static constexpr unsigned kShift = 21;
  static constexpr std::size_t kMaxEntries = 256;

  /// Throws std::invalid_argument unless there are 1 to 256 positive, ascending, finite entries.
  ScaleSearch(const float* entries, std::size_t count) {
    if (count < 1 || count > kMaxEntries) {
      throw std::invalid_argument("a scale table holds 1 to 256 entries, not " +
                                  std::to_string(count));
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (!(entries[i] > 0 && std::isfinite(entries[i])) ||
          (i > 0 && entries[i] < entries[i - 1])) {
        throw std::invalid_argument("a scale table's entries must be positive and ascend");
      }
    }
    last_ = static_cast<std::uint32_t>(count - 1);
    bounds_.assign(entries, entries + last_);
    first_bucket_ = last_ == 0 ? 0 : bits(bounds_.front()) >> kShift;
    const std::int32_t last_bucket = last_ == 0 ? 0 : (bits(bounds_.back()) >> kShift) + 1;
    for (std::int32_t bucket = first_bucket_; bucket <= last_bucket; ++bucket) {
      // The first bucket takes everything below it too.
      const auto begin = bucket == first_bucket_ ? bounds_.begin() : first_at(bucket);
      steps_ = std::max(steps_, static_cast<std::uint32_t>(first_at(bucket + 1) - begin));
      starts_.push_back(static_cast<std::uint32_t>(begin - bounds_.begin()));
    }
    starts_.back() = last_;
    last_bucket_ = static_cast<std::int32_t>(starts_.size()) - 1;
    // To whole registers; nothing is above infinity.
    starts_.resize((starts_.size() + 63) / 64 * 64, last_);
    bounds_.resize((last_ + 64) / 64 * 64, std::numeric_limits<float>::infinity());
  }

  std::uint32_t find(float scale) const {
    if (std::isnan(scale)) return last_;
    std::uint32_t index = starts_[static_cast<std::size_t>(
        std::clamp((bits(scale) >> kShift) - first_bucket_, 0, last_bucket_))];
    for (std::uint32_t step = 0; step < steps_; ++step) index += bounds_[index] < scale;
    return index;
  }

  // For code that finds several at once. Both arrays have a multiple of 64 elements.
  const std::uint32_t* starts() const { return starts_.data(); }
  const float* bounds() const { return bounds_.data(); }
  std::int32_t first_bucket() const { return first_bucket_; }
  std::int32_t last_bucket() const { return last_bucket_; }
  std::uint32_t last() const { return last_; }
  std::uint32_t steps() const { return steps_; }
  /// Whether both arrays have 64 elements.
  bool small() const { return starts_.size() == 64 && bounds_.size() == 64; }

 private:
  static std::int32_t bits(float value) {
    std::int32_t all;
    std::memcpy(&all, &value, sizeof all);
    return all;
  }

  std::vector<float>::const_iterator first_at(std::int32_t bucket) const {
    return std::find_if(bounds_.begin(), bounds_.end(),
                        [bucket](float bound) { return bits(bound) >> kShift >= bucket; });
  }

  std::uint32_t last_ = 0;             // the highest index
  std::vector<float> bounds_;          // the entries, without the last one
  std::vector<std::uint32_t> starts_;  // of a bucket: the first index that its scales can have
  std::int32_t first_bucket_ = 0;
  std::int32_t last_bucket_ = 0;
  std::uint32_t steps_ = 0;  // the most entries that a bucket holds
};

}  // namespace lic_fast::latents
